/*
 * own_address: which address other agents are told.
 */
#pragma once
#include "auto.h"
#include "err.h"
#include "wire.h"

/**
 * advertise as it is; NULL: the address of listen, or, where that is any address, the first one of
 * this machine that is not loopback, with port.
 * @return 0; -EINVAL there is none, or it is too long
 */
MUST_CHECK int own_address(const char *advertise, const char *listen, uint16_t port,
                           char ret_address[WIRE_ADDRESS_MAX + 1], struct err *e);
