/*
 * raw_end: the other side of a connection as a bare socket, which says whatever the test wants.
 */
#pragma once
#include "wire_pair.h"

void raw_bytes(int fd, const void *bytes, size_t n_bytes);
void raw_say(int fd, const struct wire_msg *msg); /* a frame, with zeros as payload */
void raw_sample(int fd, enum wire_type type);     /* one of wire_samples.h */

/** The first message of bytes that the bare socket was sent. @return how many are its own; 0: it is
 * not all there */
size_t raw_next(struct wire_decoder *decoder, const uint8_t *bytes, size_t n_bytes,
                struct wire_msg *ret_msg);

/** End 1 is open to a bare socket. @return it */
int raw_open(struct pair *p);
