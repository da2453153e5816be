// SPDX-License-Identifier: MIT
/*
 * frame.h: what the code in a README may use that is neither a whole program
 * nor part of a sample: tests/readme/check compiles it as the body of the
 * coroutine `example`.
 */
#include <coil.h>
#include <coil/http.h>
#include <coil/openssl.h>
#include <coil/tls.h>
#include <stdio.h>
#include <stdlib.h>

struct fetch {
    struct coil_coro coro;
    const char *url;
};
void fetch(struct coil_coro *co);

struct copy {
    struct coil_coro coro;
    const char *path;
    int fd;
};
void copy(struct coil_coro *co);

struct work {
    struct coil_coro coro;
    struct coil_queue *jobs;
};
void work(struct coil_coro *co);

struct coil_result load(void *path);
void use(void *page);

struct example {
    struct coil_coro coro;
    const char *url, *urls[2];
    struct coil_task *task, *done, *tasks[2];
    struct coil_group group;
    struct coil_semaphore limit;
    struct coil_lock lock;
    struct coil_queue jobs;
    struct coil_http_session *session;
    struct coil_http_response *response;
    struct coil_tls_client *tls;
    struct coil_tls_why why;
    char *path;
    void *job, *page;
    int err, i, n;
};
