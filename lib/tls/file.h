// SPDX-License-Identifier: MIT
#ifndef COILI_TLS_FILE_H
#define COILI_TLS_FILE_H

/*
 * file.h: files of keys and certificates, read whole.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Larger files are refused with -EFBIG. The CA file of Debian has 0.2 MB. */
#define COILI_FILE_BYTES_MAX (16u << 20)

/* Which content a file has: if any of these differ, it is another. */
struct coili_stamp {
    bool is_regular; /* not a pipe or a device: it can be read again */
    uint64_t device, inode, size;
    int64_t seconds, nanoseconds; /* of the last change */
};

/* Result    0 or -errno */
int coili_stamp_read(struct coili_stamp *stamp, int fd);

bool coili_stamp_equal(const struct coili_stamp *a,
                       const struct coili_stamp *b);

/*
 * Read from the descriptor up to its end.
 *
 * Result    0 or -errno
 * Lifetime  gives `*text`, never NULL: the caller frees it with free()
 */
int coili_file_read(int fd, char **text, size_t *len);

/* The same by its path. */
int coili_file_load(const char *path, char **text, size_t *len);

#endif
