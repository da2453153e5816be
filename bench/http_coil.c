// SPDX-License-Identifier: MIT
/*
 * http_coil.c: the same job on coil's HTTP client.
 *
 *     http_coil PORT PATH REQUESTS PARALLEL [--ring 128x16384]
 *
 * PARALLEL tasks share one session; each takes the number of the next request,
 * and reads the body in pieces where they were received. --ring says how many
 * receive buffers the loop has, and how large they are.
 */
#include <coil.h>
#include <coil/http.h>

#include "http_client.h"

static struct http_job job;
static long asked;
static int64_t body_bytes;

struct worker {
    struct coil_coro coro;
    struct coil_http_session *session;
    struct coil_http_response *response;
    size_t n;
    long i;
    char url[256];
};

static void worker(struct coil_coro *co)
{
    ASYNC(worker, my) {
        while (asked < job.requests) {
            char path[224];
            http_job_path(&job, asked++, path, sizeof path);
            snprintf(my->url, sizeof my->url, "http://127.0.0.1:%d%s",
                     job.port, path);
            AWAIT_TO(my->response, coil_http_get(my->session, my->url));
            if (coil_http_response_status(my->response) != 200)
                die("status %d", coil_http_response_status(my->response));
            do {
                AWAIT_TO(my->n, coil_http_response_next(my->response));
                body_bytes += (int64_t)my->n;
            } while (my->n > 0);
            coil_http_response_free(my->response);
            my->response = NULL;
        }

    FINALLY;
        coil_http_response_free(my->response);
    }
}

struct fetch_all {
    struct coil_coro coro;
    struct coil_http_session *session;
    struct coil_task **workers;
    long i;
};

static void fetch_all(struct coil_coro *co)
{
    ASYNC(fetch_all, my) {
        struct coil_http_session_options
            options = COIL_HTTP_SESSION_OPTIONS_INIT;
        options.limit = (unsigned)job.parallel;
        my->session = coil_http_session_new(&options);
        my->workers = calloc((size_t)job.parallel, sizeof *my->workers);
        if (!my->session || !my->workers)
            FAIL(-ENOMEM);
        for (my->i = 0; my->i < job.parallel; my->i++)
            my->workers[my->i] = SPAWN(worker, .session = my->session);
        AWAIT(coil_gather(my->workers, (size_t)job.parallel));

    FINALLY;
        free(my->workers);
        AWAIT(coil_http_session_close(my->session));
    }
}

int main(int argc, char **argv)
{
    struct coil_loop_options options = COIL_LOOP_OPTIONS_INIT;
    if (argc == 7 && strcmp(argv[5], "--ring") == 0 &&
        sscanf(argv[6], "%ux%u", &options.recv_buffers,
               &options.recv_buffer_bytes) != 2)
        die("--ring 128x16384");
    job = http_job_parse(argc, argv);
    int err = RUN_WITH(&options, fetch_all);
    if (err < 0)
        die("%s", coil_strerror(err));
    http_job_print(&job, body_bytes);
    return 0;
}
