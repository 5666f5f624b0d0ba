/*
 * page_html: the live page (page.html), made into an array by the build (cmake/embed.cmake).
 */
#pragma once
#include <stddef.h>

extern const unsigned char page_html[];
extern const size_t page_html_bytes;
