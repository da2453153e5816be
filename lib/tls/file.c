// SPDX-License-Identifier: MIT
/*
 * file.c: files of keys and certificates, read whole.
 *
 * Read, and not mapped: a file that is cut short while it is mapped ends the
 * program by SIGBUS. A text that is read may be a private key, so a buffer that
 * has become too small is wiped before it is freed.
 */
#include "file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/descriptor.h"

int coili_stamp_read(struct coili_stamp *stamp, int fd)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    *stamp = (struct coili_stamp){
        .is_regular = S_ISREG(st.st_mode),
        .device = (uint64_t)st.st_dev,
        .inode = (uint64_t)st.st_ino,
        .size = (uint64_t)st.st_size,
        .seconds = st.st_mtim.tv_sec,
        .nanoseconds = st.st_mtim.tv_nsec,
    };
    return 0;
}

bool coili_stamp_equal(const struct coili_stamp *a, const struct coili_stamp *b)
{
    return a->is_regular == b->is_regular && a->device == b->device &&
           a->inode == b->inode && a->size == b->size &&
           a->seconds == b->seconds && a->nanoseconds == b->nanoseconds;
}

/* Double the buffer. On failure it is wiped and freed. */
static int grow(char **text, size_t len, size_t *size)
{
    char *larger = *size <= COILI_FILE_BYTES_MAX ? malloc(*size * 2) : NULL;
    int err = *size <= COILI_FILE_BYTES_MAX ? -ENOMEM : -EFBIG;
    if (larger)
        memcpy(larger, *text, len);
    explicit_bzero(*text, len);
    free(*text);
    *text = larger;
    *size *= 2;
    return larger ? 0 : err;
}

/* One byte more than the file has, so that its end is seen at once. */
int coili_file_read(int fd, char **text, size_t *len)
{
    struct coili_stamp stamp = { 0 }; /* gcc at -O3 cannot see that it is set */
    int err = coili_stamp_read(&stamp, fd);
    if (err < 0)
        return err;
    if (stamp.size > COILI_FILE_BYTES_MAX)
        return -EFBIG;
    size_t size = stamp.is_regular ? (size_t)stamp.size + 1 : 4096, used = 0;
    char *buffer = malloc(size);
    if (!buffer)
        return -ENOMEM;

    for (;;) {
        ssize_t n = read(fd, buffer + used, size - used);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            err = -errno;
            explicit_bzero(buffer, used);
            free(buffer);
            return err;
        }
        if (n == 0)
            break;
        used += (size_t)n;
        if (used == size && (err = grow(&buffer, used, &size)) < 0)
            return err;
    }
    *text = buffer;
    *len = used;
    return 0;
}

int coili_file_load(const char *path, char **text, size_t *len)
{
    int fd = coili_file_open(path);
    if (fd < 0)
        return fd;
    int err = coili_file_read(fd, text, len);
    close(fd);
    return err;
}
