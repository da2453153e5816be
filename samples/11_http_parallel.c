// SPDX-License-Identifier: MIT
/*
 * Fetch many pages, four at once.
 *
 *     ./build/samples/11_http_parallel URL...
 *
 * Prints "1256 bytes  URL" for each as it arrives.
 */
#include <coil.h>
#include <coil/http.h>
#include <errno.h>
#include <stdio.h>

#define URLS_MAX 1000

struct fetch {
    struct coil_coro coro;
    const char *url;
    struct coil_http_session *session; /* lent by crawl(), which ends later */
    struct coil_semaphore *limit;
    struct coil_http_response *response;
};

static void fetch(struct coil_coro *co)
{
    ASYNC(fetch, my) {
        WITH(my->limit) {
            AWAIT_TO(my->response, coil_http_get(my->session, my->url));
            AWAIT(coil_http_response_read(my->response));
        }
        RETURN(coil_http_response_size(my->response));

    FINALLY;
        coil_http_response_free(my->response);
    }
}

struct crawl {
    struct coil_coro coro;
    char **urls;
    struct coil_http_session *session;
    struct coil_semaphore limit;
    struct coil_task *tasks[URLS_MAX], *done;
    size_t n, bytes;
    int err;
};

static void crawl(struct coil_coro *co)
{
    ASYNC(crawl, my) {
        coil_semaphore_init(&my->limit, 4); /* at once */
        my->session = coil_http_session_new(NULL);
        for (; my->n < URLS_MAX && my->urls[my->n]; my->n++)
            my->tasks[my->n] = SPAWN(fetch, .url = my->urls[my->n],
                                     .session = my->session,
                                     .limit = &my->limit);

        FOR_AWAIT(my->done, coil_as_completed(my->tasks, my->n)) {
            TRY_AWAIT_TO(my->err, my->bytes, my->done);
            struct fetch *fetch = coil_task_frame(my->done);
            if (my->err == 0)
                printf("%zu bytes  %s\n", my->bytes, fetch->url);
            else
                printf("%s  %s\n", coil_strerror(my->err), fetch->url);
        }

    FINALLY;
        AWAIT(coil_http_session_close(my->session));
    }
}

int main(int argc, char **argv)
{
    int err = argc > 1 ? RUN(crawl, .urls = argv + 1) : -EINVAL;
    if (err < 0)
        fprintf(stderr, "11_http_parallel: %s\n", coil_strerror(err));
    return err < 0;
}
