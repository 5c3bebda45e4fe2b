/* Files that are mapped into memory, and may shrink while they are; see mapped.c. */
#ifndef XENT_MAPPED_H
#define XENT_MAPPED_H

#include <stddef.h>

/* Map the first bytes of an open file for reading; NULL on failure, with errno set. */
void *xent_map(int fd, size_t n_bytes);
void xent_unmap(void *begin, size_t n_bytes);

/* Ask the operating system to read a section of a mapped file before it is used. */
void xent_read_ahead(const void *begin, size_t n_bytes);

/* Guard a section of a mapped file. Returns a number for `xent_unguard`, or -1 if too many sections
 * are guarded already. */
int xent_guard(const void *begin, size_t n_bytes, int writable);

/* Stop guarding. Returns whether pages of the section were missing when they were read, so that
 * zeros were read in their place. */
int xent_unguard(int number);

#endif
