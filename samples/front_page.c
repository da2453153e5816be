// SPDX-License-Identifier: MIT
/*
 * The program on the first page of the README: two URLs at once.
 *
 *     ./build/samples/front_page URL URL
 *
 * Prints a line for each page when it is there.
 */
#include <coil.h>
#include <coil/http.h>
#include <errno.h>
#include <stdio.h>

struct fetch {
    struct coil_coro coro;               // first: where to resume
    struct coil_http_session *session;   // an argument
    const char *url;                     // another one
    struct coil_http_response *response; // lives across awaits: a field
};

static void fetch(struct coil_coro *co)
{
    ASYNC(fetch, my) {
        AWAIT_TO(my->response, coil_http_get(my->session, my->url));
        AWAIT(coil_http_response_read(my->response));
        printf("%s: %zu bytes\n", my->url,
               coil_http_response_size(my->response));

    FINALLY; // on return, on error, on cancel
        coil_http_response_free(my->response);
    }
}

struct both {
    struct coil_coro coro;
    char **urls;
    struct coil_http_session *session;
    struct coil_task *tasks[2];
};

static void both(struct coil_coro *co)
{
    ASYNC(both, my) {
        my->session = coil_http_session_new(NULL);
        my->tasks[0] = SPAWN(fetch, .session = my->session, .url = my->urls[0]);
        my->tasks[1] = SPAWN(fetch, .session = my->session, .url = my->urls[1]);
        AWAIT(coil_gather(my->tasks, 2)); // fails with the first error

    FINALLY;
        AWAIT(coil_http_session_close(my->session));
    }
}

int main(int argc, char **argv)
{
    int err = argc == 3 ? RUN(both, .urls = argv + 1) : -EINVAL;
    if (err < 0)
        fprintf(stderr, "front_page: %s\n", coil_strerror(err));
    return err < 0;
}
