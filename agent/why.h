/*
 * why: one sentence for people: why the bytes of a chunk took as long as they did.
 *
 * Knows what fetch remembers of its questions. Knows no JSON, no image and no clock.
 */
#pragma once
#include "auto.h"
#include "fetch.h"

/* Where the chunk is now. */
enum why_place { WHY_ABSENT, WHY_HERE, WHY_SHARED };

/** Is it the end of a question that brought the chunk it is told of? */
bool why_gave(const struct fetch_event *ev);

/**
 * @param events  as fetch_explain() gives them, oldest first; n may be 0
 * @return malloc'd: who was or is waited for and how long, what had to be asked again, or that it
 * was here
 */
char *why_words(const struct fetch_event *events, uint32_t n, enum why_place place);
