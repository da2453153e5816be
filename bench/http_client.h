// SPDX-License-Identifier: MIT
/*
 * http_client.h: what the HTTP clients have in common, so they do the same job.
 *
 *     PROGRAM PORT PATH REQUESTS PARALLEL
 *
 * GET http://127.0.0.1:PORT/PATH as often as told, PARALLEL at once, over
 * connections that stay open, reading every body to its end. "%" in PATH stands
 * for the number of the request, from 0; requests start in that order.
 *
 * Time and CPU are counted from before the first connect to after the last
 * body, so a language's start-up is not in them; the peak is the process's.
 *
 * Over TLS there is one more argument, a file with the authority to trust:
 *
 *     PROGRAM PORT PATH REQUESTS PARALLEL CA
 *
 * "-" means plain HTTP. With this argument a client first makes PARALLEL
 * requests, waits for all of them, and then calls http_job_begin(): time, CPU
 * and bytes are those of the REQUESTS that follow. A handshake costs as much as
 * hundreds of requests, so what is measured must not depend on how many requests
 * share one. A server that closes each connection makes a client connect again
 * for each request.
 */
#ifndef BENCH_HTTP_CLIENT_H
#define BENCH_HTTP_CLIENT_H

#include "bench.h"

struct http_job {
    int port;
    const char *path;
    long requests;
    long parallel;
    const char *ca; /* NULL: this client has not been given one */
    int64_t start_ns, start_cpu_ns;
};

/* What is measured begins now. */
static inline void http_job_begin(struct http_job *job)
{
    job->start_ns = now_ns();
    job->start_cpu_ns = cpu_ns();
}

static inline struct http_job http_job_parse(int argc, char **argv)
{
    struct http_job job = { 0 };
    if (argc >= 5) {
        job.port = atoi(argv[1]);
        job.path = argv[2];
        job.requests = strtol(argv[3], NULL, 10);
        job.parallel = strtol(argv[4], NULL, 10);
    }
    if (job.port <= 0 || job.requests <= 0 || job.parallel <= 0 ||
        job.path[0] != '/' || strlen(job.path) > 200)
        die("usage: %s PORT PATH REQUESTS PARALLEL", argv[0]);
    if (job.parallel > job.requests)
        job.parallel = job.requests;
    http_job_begin(&job);
    return job;
}

/* For a client that can speak TLS. */
static inline struct http_job https_job_parse(int argc, char **argv)
{
    struct http_job job = http_job_parse(argc, argv);
    if (argc < 6)
        die("usage: %s PORT PATH REQUESTS PARALLEL CA", argv[0]);
    if (strcmp(argv[5], "-") != 0)
        job.ca = argv[5];
    return job;
}

static inline const char *http_job_scheme(const struct http_job *job)
{
    return job->ca ? "https" : "http";
}

/* The path of request `i`: "%" replaced by its number. */
static inline void http_job_path(const struct http_job *job, long i, char *out,
                                 size_t room)
{
    const char *mark = strchr(job->path, '%');
    if (mark)
        snprintf(out, room, "%.*s%ld%s", (int)(mark - job->path), job->path, i,
                 mark + 1);
    else
        snprintf(out, room, "%s", job->path);
}

static inline void http_job_print(const struct http_job *job,
                                  int64_t body_bytes)
{
    double took = (double)(now_ns() - job->start_ns) / 1e9;
    double cpu = (double)(cpu_ns() - job->start_cpu_ns) / 1e3;
    double n = (double)job->requests;
    printf("requests=%ld parallel=%ld bytes=%lld seconds=%.6f req_per_s=%.0f "
           "cpu_us=%.3f peak_kib=%lld\n",
           job->requests, job->parallel, (long long)body_bytes, took, n / took,
           cpu / n, (long long)peak_bytes() / 1024);
}

#endif
