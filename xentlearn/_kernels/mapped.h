/* Files that are mapped into memory, and what happens when one shrinks meanwhile: see mapped.c. */
#ifndef XENT_MAPPED_H
#define XENT_MAPPED_H

#include <stddef.h>

/* The first bytes of an open file, to be read alone; NULL with errno set. */
void *xent_map(int fd, size_t n_bytes);
void xent_unmap(void *begin, size_t n_bytes);

/* Ask the system to read a part of a mapped file ahead of its use. */
void xent_read_ahead(const void *begin, size_t n_bytes);

/* Guard a part of a mapped file: a number for `xent_unguard`, or -1 where too many are guarded. */
int xent_guard(const void *begin, size_t n_bytes, int writable);

/* End it; whether some of the part was gone when it was read, and zeros were read in its place. */
int xent_unguard(int number);

#endif
