// SPDX-License-Identifier: MIT
/*
 * Retry: three attempts for each page, at most two at once, two seconds each.
 *
 *     ./build/samples/18_retry URL...
 *
 * Prints "1256 bytes  URL" for each page, or why its last attempt has failed.
 */
#include <coil.h>
#include <coil/http.h>
#include <stdio.h>

struct get {
    struct coil_coro coro;
    struct coil_http_session *session; /* lent by all(), which ends later */
    struct coil_semaphore *limit;
    const char *url;
    struct coil_http_response *response;
    int attempt, err;
};

static void get(struct coil_coro *co)
{
    ASYNC(get, my) {
        for (;;) {
            TRY(my->err) WITH(my->limit) WITHIN(COIL_SECONDS(2)) {
                AWAIT_TO(my->response, coil_http_get(my->session, my->url));
                AWAIT(coil_http_response_read(my->response));
                RETURN(coil_http_response_size(my->response));
            }
            coil_http_response_free(my->response);
            my->response = NULL;
            if (++my->attempt == 3)
                FAIL(my->err);
            AWAIT(coil_sleep(COIL_MS(50 << my->attempt)));
        }

    FINALLY;
        coil_http_response_free(my->response);
    }
}

struct all {
    struct coil_coro coro;
    char **urls;
    struct coil_http_session *session;
    struct coil_semaphore limit;
    struct coil_task *tasks[100];
    size_t n, i, bytes;
    int err;
};

static void all(struct coil_coro *co)
{
    ASYNC(all, my) {
        coil_semaphore_init(&my->limit, 2);
        my->session = coil_http_session_new(NULL);
        for (; my->n < 100 && my->urls[my->n]; my->n++)
            my->tasks[my->n] = SPAWN(get, .session = my->session,
                                     .limit = &my->limit,
                                     .url = my->urls[my->n]);
        for (; my->i < my->n; my->i++) {
            TRY(my->err) AWAIT_TO(my->bytes, my->tasks[my->i]);
            if (my->err)
                printf("%s  %s\n", coil_strerror(my->err), my->urls[my->i]);
            else
                printf("%zu bytes  %s\n", my->bytes, my->urls[my->i]);
        }

    FINALLY;
        AWAIT(coil_http_session_close(my->session));
    }
}

int main(int argc, char **argv)
{
    return argc < 2 || RUN(all, .urls = argv + 1) < 0;
}
