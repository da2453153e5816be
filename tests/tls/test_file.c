// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_file.c: files of keys and certificates, read whole.
 */
#include "test.h"

#include "tls/file.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char path[] = "/tmp/coil-file-XXXXXX";

/* A file of so many bytes. */
static int make(size_t size)
{
    int fd = mkstemp(path);
    CHECK(fd >= 0);
    for (size_t i = 0; i < size; i++) {
        char c = (char)(i * 7);
        CHECK(pwrite(fd, &c, 1, (off_t)i) == 1);
    }
    return fd;
}

static void check_content(const char *text, size_t len, size_t size)
{
    CHECK_INT(len, size);
    for (size_t i = 0; i < len; i++)
        CHECK(text[i] == (char)(i * 7));
}

TEST(file_is_read_whole)
{
    static const size_t sizes[] = { 0, 1, 4095, 4096, 4097, 10000 };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char *text;
        size_t len;
        close(make(sizes[i]));
        CHECK_INT(coili_file_load(path, &text, &len), 0);
        check_content(text, len, sizes[i]);
        free(text);
        unlink(path);
        strcpy(path, "/tmp/coil-file-XXXXXX");
    }
}

static void *write_pipe(void *argument)
{
    int fd = *(int *)argument;
    for (size_t i = 0; i < 20000; i++) {
        char c = (char)(i * 7);
        CHECK(write(fd, &c, 1) == 1);
    }
    close(fd);
    return NULL;
}

TEST(file_that_is_a_pipe_is_read_to_its_end)
{
    int fds[2];
    pthread_t thread;
    char *text;
    size_t len;
    CHECK_INT(pipe2(fds, O_CLOEXEC), 0);
    CHECK_INT(pthread_create(&thread, NULL, write_pipe, &fds[1]), 0);
    CHECK_INT(coili_file_read(fds[0], &text, &len), 0);
    CHECK_INT(pthread_join(thread, NULL), 0);
    check_content(text, len, 20000);
    free(text);
    close(fds[0]);
}

TEST(file_that_is_too_large_is_refused)
{
    char *text;
    size_t len;
    int fd = make(0);
    CHECK_INT(ftruncate(fd, COILI_FILE_BYTES_MAX + 1), 0);
    close(fd);
    CHECK_INT(coili_file_load(path, &text, &len), -EFBIG);
    unlink(path);
    CHECK_INT(coili_file_load(path, &text, &len), -ENOENT);
    CHECK_INT(coili_file_load("/tmp", &text, &len), -EISDIR);
    CHECK_INT(coili_file_load("/dev/zero", &text, &len), -EFBIG);
}

static int load(void)
{
    char *text;
    size_t len;
    int err = coili_file_load(path, &text, &len);
    if (err == 0)
        free(text);
    return err;
}

TEST(file_without_memory_says_so)
{
    close(make(10000));
    test_every_allocation(load);
    unlink(path);
}

TEST(file_has_another_stamp_after_a_change)
{
    struct coili_stamp before, after;
    int fd = make(10);
    struct timespec times[2] = { { 1, 0 }, { 1, 5 } };
    CHECK_INT(coili_stamp_read(&before, fd), 0);
    CHECK_INT(coili_stamp_read(&after, fd), 0);
    CHECK(before.is_regular && coili_stamp_equal(&before, &after));
    CHECK_INT(futimens(fd, times), 0);
    CHECK_INT(coili_stamp_read(&before, fd), 0);
    CHECK(!coili_stamp_equal(&before, &after));
    times[1].tv_nsec = 6;
    CHECK_INT(futimens(fd, times), 0);
    CHECK_INT(coili_stamp_read(&after, fd), 0);
    CHECK(!coili_stamp_equal(&before, &after));
    CHECK_INT(ftruncate(fd, 9), 0);
    CHECK_INT(futimens(fd, times), 0);
    CHECK_INT(coili_stamp_read(&before, fd), 0);
    CHECK(!coili_stamp_equal(&before, &after));
    close(fd);
    unlink(path);

    /* Another file, alike in all but its inode. */
    strcpy(path, "/tmp/coil-file-XXXXXX");
    int other = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    fd = make(9);
    if (other < 0)
        SKIP("no O_TMPFILE");
    CHECK_INT(ftruncate(other, 9), 0);
    CHECK_INT(futimens(fd, times), 0);
    CHECK_INT(futimens(other, times), 0);
    CHECK_INT(coili_stamp_read(&before, fd), 0);
    CHECK_INT(coili_stamp_read(&after, other), 0);
    CHECK(!coili_stamp_equal(&before, &after));
    close(fd);
    close(other);
    unlink(path);
    CHECK_INT(coili_stamp_read(&after, fd), -EBADF);
}
