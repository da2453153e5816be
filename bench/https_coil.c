// SPDX-License-Identifier: MIT
/*
 * https_coil.c: the job of http_client.h over TLS, on coil's HTTP client.
 *
 *     https_coil PORT PATH REQUESTS PARALLEL CA [--engine openssl]
 *                [--ring 128x16384]
 *
 * PARALLEL tasks share one session, as in http_coil.c. CA may be "-": plain HTTP.
 * The program https_coil has no OpenSSL; https_coil_openssl is the same source
 * with it.
 */
#include <coil.h>
#include <coil/http.h>
#include <coil/tls.h>

#include "http_client.h"
#include "tls_engine.h"

static struct http_job job;
static struct coil_tls_client *tls;
static long asked, wanted;
static int64_t body_bytes;

struct worker {
    struct coil_coro coro;
    struct coil_http_session *session;
    struct coil_http_response *response;
    size_t n;
    bool once; /* the request before what is measured */
    char url[256];
};

static void worker(struct coil_coro *co)
{
    ASYNC(worker, my) {
        while (asked < wanted) {
            char path[224];
            http_job_path(&job, asked++, path, sizeof path);
            snprintf(my->url, sizeof my->url, "%s://127.0.0.1:%d%s",
                     http_job_scheme(&job), job.port, path);
            AWAIT_TO(my->response, coil_http_get(my->session, my->url));
            if (coil_http_response_status(my->response) != 200)
                die("status %d", coil_http_response_status(my->response));
            do {
                AWAIT_TO(my->n, coil_http_response_next(my->response));
                body_bytes += (int64_t)my->n;
            } while (my->n > 0);
            coil_http_response_free(my->response);
            my->response = NULL;
            if (my->once)
                RETURN(0);
        }

    FINALLY;
        coil_http_response_free(my->response);
    }
}

/* One round of workers, until `wanted` requests were made. */
struct work {
    struct coil_coro coro;
    struct coil_http_session *session;
    struct coil_task **workers;
    bool once;
    long i;
};

static void work(struct coil_coro *co)
{
    ASYNC(work, my) {
        my->workers = calloc((size_t)job.parallel, sizeof *my->workers);
        if (!my->workers)
            FAIL(-ENOMEM);
        for (my->i = 0; my->i < job.parallel; my->i++)
            my->workers[my->i] = SPAWN(worker, .session = my->session,
                                       .once = my->once);
        AWAIT(coil_gather(my->workers, (size_t)job.parallel));

    FINALLY;
        free(my->workers);
    }
}

struct fetch_all {
    struct coil_coro coro;
    struct coil_http_session *session;
};

static void fetch_all(struct coil_coro *co)
{
    ASYNC(fetch_all, my) {
        struct coil_http_session_options
            options = COIL_HTTP_SESSION_OPTIONS_INIT;
        options.limit = (unsigned)job.parallel;
        options.tls = tls;
        my->session = coil_http_session_new(&options);
        if (!my->session)
            FAIL(-ENOMEM);
        wanted = job.parallel;
        AWAIT(CALL(work, .session = my->session, .once = true));
        wanted += job.requests;
        body_bytes = 0;
        http_job_begin(&job);
        AWAIT(CALL(work, .session = my->session));
        http_job_print(&job, body_bytes);

    FINALLY;
        AWAIT(coil_http_session_close(my->session));
    }
}

int main(int argc, char **argv)
{
    struct coil_loop_options options = COIL_LOOP_OPTIONS_INIT;
    const char *engine = "own";
    job = https_job_parse(argc, argv);
    for (int i = 6; i < argc; i += 2) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--engine") == 0)
            engine = value;
        else if (strcmp(argv[i], "--ring") != 0 ||
                 sscanf(value, "%ux%u", &options.recv_buffers,
                        &options.recv_buffer_bytes) != 2)
            die("%s: wrong, or without its value", argv[i]);
    }
    if (job.ca)
        tls = tls_client(engine, job.ca);
    int err = RUN_WITH(&options, fetch_all);
    char text[256];
    if (err < 0)
        die("%s", coil_explain(err, coil_last_detail(), text, sizeof text));
    coil_tls_client_unref(tls);
    return 0;
}
