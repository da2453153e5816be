// SPDX-License-Identifier: MIT
/*
 * http_curl.c: the job of http_client.h on libcurl's multi interface.
 *
 *     http_curl PORT PATH REQUESTS PARALLEL
 *
 * PARALLEL easy handles, used again for the next request as soon as one is
 * done, driven by curl_multi_perform and curl_multi_poll. Connections are kept
 * in the multi handle's cache, which is told to hold that many.
 */
#include "http_client.h"

#include <curl/curl.h>

static struct http_job job;
static CURLM *multi;
static long asked, answered;
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
    if (asked == job.requests)
        return;
    http_job_path(&job, asked++, path, sizeof path);
    snprintf(url, sizeof url, "http://127.0.0.1:%d%s", job.port, path);
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
    return easy;
}

static void answer(CURLMsg *message)
{
    CURL *easy = message->easy_handle;
    long status = 0;
    check(message->data.result, "request");
    check(curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status), "status");
    if (status != 200)
        die("status %ld", status);
    answered++;
    check_multi(curl_multi_remove_handle(multi, easy), "remove_handle");
    ask_next(easy);
}

int main(int argc, char **argv)
{
    check(curl_global_init(CURL_GLOBAL_NOTHING), "curl_global_init");
    job = http_job_parse(argc, argv);
    multi = curl_multi_init();
    if (!multi)
        die("curl_multi_init");
    check_multi(curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, job.parallel),
                "CURLMOPT_MAXCONNECTS");
    for (long i = 0; i < job.parallel; i++)
        ask_next(new_easy());

    while (answered < job.requests) {
        int running, left;
        CURLMsg *message;
        check_multi(curl_multi_perform(multi, &running), "curl_multi_perform");
        long before = answered;
        while ((message = curl_multi_info_read(multi, &left)))
            if (message->msg == CURLMSG_DONE)
                answer(message);
        if (answered == before)  // else there is something new to perform
            check_multi(curl_multi_poll(multi, NULL, 0, 1000, NULL), "poll");
    }
    http_job_print(&job, body_bytes);
    return 0;
}
