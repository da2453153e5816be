// SPDX-License-Identifier: MIT
/*
 * http_curl.c: the job of http_client.h on libcurl's multi interface.
 *
 *     http_curl PORT PATH REQUESTS PARALLEL [CA]
 *
 * PARALLEL easy handles, used again for the next request as soon as one is
 * done, driven by curl_multi_perform and curl_multi_poll. Connections are kept
 * in the multi handle's cache, which is told to hold that many. Over TLS all
 * handles share the sessions of the server.
 */
#include "http_client.h"

#include <curl/curl.h>

static struct http_job job;
static CURLM *multi;
static CURLSH *sessions;
static long asked, answered, wanted;
static int64_t body_bytes;

static void check(CURLcode code, const char *what)
{
    if (code != CURLE_OK)
        die("%s: %s", what, curl_easy_strerror(code));
}

static void check_multi(CURLMcode code, const char *what)
{
    if (code != CURLM_OK)
        die("%s: %s", what, curl_multi_strerror(code));
}

static size_t count_body(char *data, size_t size, size_t n, void *user)
{
    (void)data;
    (void)user;
    body_bytes += (int64_t)(size * n);
    return size * n;
}

static void ask_next(CURL *easy)
{
    char path[256], url[300];
    http_job_path(&job, asked++, path, sizeof path);
    snprintf(url, sizeof url, "%s://127.0.0.1:%d%s", http_job_scheme(&job),
             job.port, path);
    check(curl_easy_setopt(easy, CURLOPT_URL, url), "CURLOPT_URL");
    check_multi(curl_multi_add_handle(multi, easy), "curl_multi_add_handle");
}

static CURL *new_easy(void)
{
    CURL *easy = curl_easy_init();
    if (!easy)
        die("curl_easy_init");
    check(curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, count_body), "write");
    check(curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L), "CURLOPT_NOSIGNAL");
    check(curl_easy_setopt(easy, CURLOPT_PROXY, ""), "CURLOPT_PROXY");
    if (job.ca) {
        check(curl_easy_setopt(easy, CURLOPT_CAINFO, job.ca), "CURLOPT_CAINFO");
        check(curl_easy_setopt(easy, CURLOPT_SHARE, sessions), "CURLOPT_SHARE");
    }
    return easy;
}

// Its handle is idle from now on: it asks again, or is kept for later.
static CURL *answer(CURLMsg *message)
{
    CURL *easy = message->easy_handle;
    long status = 0;
    check(message->data.result, "request");
    check(curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status), "status");
    if (status != 200)
        die("status %ld", status);
    answered++;
    check_multi(curl_multi_remove_handle(multi, easy), "remove_handle");
    return easy;
}

// Make `requests` more, with all of the handles, and wait for all of them.
static void run(CURL **idle, long requests)
{
    long parallel = 0;
    wanted += requests;
    while (parallel < job.parallel && asked < wanted)
        ask_next(idle[parallel++]);
    while (answered < wanted) {
        int running, left;
        CURLMsg *message;
        check_multi(curl_multi_perform(multi, &running), "curl_multi_perform");
        long before = answered;
        while ((message = curl_multi_info_read(multi, &left))) {
            if (message->msg != CURLMSG_DONE)
                continue;
            CURL *easy = answer(message);
            if (asked < wanted)
                ask_next(easy);
        }
        if (answered == before)  // else there is something new to perform
            check_multi(curl_multi_poll(multi, NULL, 0, 1000, NULL), "poll");
    }
}

int main(int argc, char **argv)
{
    check(curl_global_init(CURL_GLOBAL_NOTHING), "curl_global_init");
    job = argc > 5 ? https_job_parse(argc, argv) : http_job_parse(argc, argv);
    multi = curl_multi_init();
    sessions = curl_share_init();
    CURL **easies = calloc((size_t)job.parallel, sizeof(CURL *));
    if (!multi || !sessions || !easies)
        die("out of memory");
    check_multi(curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, job.parallel),
                "CURLMOPT_MAXCONNECTS");
    if (curl_share_setopt(sessions, CURLSHOPT_SHARE,
                          CURL_LOCK_DATA_SSL_SESSION) != CURLSHE_OK)
        die("CURL_LOCK_DATA_SSL_SESSION");
    for (long i = 0; i < job.parallel; i++)
        easies[i] = new_easy();

    if (argc > 5) {
        run(easies, job.parallel);
        body_bytes = 0;
        http_job_begin(&job);
    }
    run(easies, job.requests);
    http_job_print(&job, body_bytes);
    return 0;
}
