/*
 * broken_dir: a directory on a disk that fails. Who reads it gets one name, and EIO behind that.
 */
#pragma once

/** This one, borrowed; NULL: what SHOAL_BROKEN_DIR says. By one thread, as is who reads it. */
void break_dir(const char *path);
