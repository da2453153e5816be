// SPDX-License-Identifier: MIT
// labels: http
/*
 * test_redirect.c: requests that are sent on to another URL.
 *
 * Two servers of origin.h, A and B, answer as the pages of a case say: "$A" and
 * "$B" in a page become their URLs. What the client saw is compared in the same
 * spelling: "301 $A/start -> 200 $B/x".
 */
#include "origin.h"

#include "http/client/redirect.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* Too large for a frame, and each test has a process of its own. */
static struct origin a, b;

struct page {
    char at; /* 'A' or 'B'; 0: the end of the list */
    const char *path;
    struct step steps[4];
};

#define TO(status, location) \
    "HTTP/1.1 " #status " Moved\r\nLocation: " location \
    "\r\nContent-Length: 0\r\n\r\n"
#define PAGE(server, where, text) \
    { .at = server, .path = where, .steps = { SAYS(text) } }
#define PAGES(...) ((const struct page[]){ __VA_ARGS__, { 0 } })

static struct route routes[2][16];
static char texts[32][2048];

/* Copy `text` with "$A", "$B" and, for what follows "http://", "$a", "$b". */
static char *expand(char *to, const char *text)
{
    char *out = to;
    for (; *text; text++) {
        const char *server = *text == '$' && text[1] ? strchr("AaBb", text[1])
                                                     : NULL;
        if (server) {
            const struct origin *o = (text[1] | 0x20) == 'a' ? &a : &b;
            size_t scheme = text[1] >= 'a' ? strlen("http://") : 0;
            out += sprintf(out, "%s", o->url + scheme);
            text++;
        } else {
            *out++ = *text;
        }
    }
    *out = '\0';
    return to;
}

/* The other way round, into a static buffer that is good for one use. */
static const char *named(const char *url)
{
    static char text[1024];
    for (const struct origin *o = &a; o; o = o == &a ? &b : NULL)
        if (strncmp(url, o->url, strlen(o->url)) == 0) {
            snprintf(text, sizeof text, "$%c%s", o == &a ? 'A' : 'B',
                     url + strlen(o->url));
            return text;
        }
    return url;
}

static void serve(const struct page *pages)
{
    int n[2] = { 0 }, t = 0;
    memset(routes, 0, sizeof routes);
    for (; pages->at; pages++) {
        struct route *r = &routes[pages->at - 'A'][n[pages->at - 'A']++];
        r->path = pages->path;
        for (int i = 0; i < 4; i++) {
            r->steps[i] = pages->steps[i];
            if (r->steps[i].text)
                r->steps[i].text = expand(texts[t++], r->steps[i].text);
        }
    }
}

/* ---- One request, from its first hop to its last ------------------------ */

/* What it ended with. */
static struct {
    int status;
    char trail[2048]; /* "301 $A/start -> 200 $A/x" */
    char words[256];  /* of the error, as coil_explain() says them */
    uint32_t detail;
    size_t body_n;
    char body[64];
} got;

static void note_trail(const struct coil_http_response *r, const char *url)
{
    char *to = got.trail;
    const struct coil_http_redirect *h = coil_http_response_history(r);
    CHECK_INT(h != NULL, coil_http_response_url(r) != NULL);
    for (; h; h = h->next)
        to += sprintf(to, "%d %s -> ", h->status, named(h->url));
    url = coil_http_response_url(r) ? coil_http_response_url(r) : url;
    sprintf(to, "%d %s", coil_http_response_status(r), named(url));
}

struct trip {
    struct coil_coro coro;
    const struct page *pages;
    const char *url; /* "$A/start" */
    struct coil_http_request request;
    struct coil_http_session_options options;
    struct coil_http_session *session;
    struct coil_http_response *response;
    int err, i;
    char text[512];
};

static void trip(struct coil_coro *co)
{
    ASYNC(trip, my) {
        memset(&got, 0, sizeof got);
        CHECK_INT(origin_open(&a, routes[0]), 0);
        CHECK_INT(origin_open(&b, routes[1]), 0);
        serve(my->pages);
        my->options.size = sizeof my->options;
        my->session = coil_http_session_new(&my->options);
        my->request.url = expand(my->text, my->url ? my->url : "$A/start");
        TRY(my->err) {
            AWAIT_TO(my->response, coil_http_send(my->session, &my->request));
            note_trail(my->response, my->request.url);
            got.status = coil_http_response_status(my->response);
            AWAIT(coil_http_response_read(my->response));
            got.body_n = coil_http_response_size(my->response);
            snprintf(got.body, sizeof got.body, "%s",
                     coil_http_response_body(my->response));
        }
        if (my->err < 0) {
            got.detail = coil_last_detail();
            strcpy(got.words, explained(my->err));
            FAIL_WITH(my->err, got.detail);
        }

    FINALLY;
        coil_http_response_free(my->response);
        AWAIT(coil_http_session_close(my->session));
        AWAIT(origin_close(&a));
        AWAIT(origin_close(&b));
    }
}

/* The value of a field in the last request to a server; "" without. */
static const char *told(const struct origin *o, const char *name)
{
    static char value[512];
    const char *line = o->head;
    size_t n = strlen(name);
    while ((line = strstr(line, "\r\n"))) {
        line += 2;
        if (strncasecmp(line, name, n) == 0 && line[n] == ':') {
            snprintf(value, sizeof value, "%.*s",
                     (int)strcspn(line + n + 2, "\r"), line + n + 2);
            return value;
        }
    }
    return "";
}

#define HEADERS(...) \
    .headers = (const struct coil_http_header[]){ __VA_ARGS__ }, \
    .headers_n = sizeof((const struct coil_http_header[]){ __VA_ARGS__ }) / \
                 sizeof(struct coil_http_header)

/* ---- What is sent again -------------------------------------------------- */

static const struct sent_again {
    const char *status, *method, *next;
    bool body;
} sent_again[] = {
    { "301", "GET", "GET", true },     { "301", "POST", "GET", false },
    { "301", "PUT", "PUT", true },     { "301", "HEAD", "HEAD", true },
    { "301", "post", "post", true },   { "301", "DELETE", "DELETE", true },
    { "302", "GET", "GET", true },     { "302", "POST", "GET", false },
    { "302", "PUT", "PUT", true },     { "302", "PATCH", "PATCH", true },
    { "303", "GET", "GET", false },    { "303", "POST", "GET", false },
    { "303", "PUT", "GET", false },    { "303", "HEAD", "HEAD", true },
    { "303", "DELETE", "GET", false }, { "307", "POST", "POST", true },
    { "307", "GET", "GET", true },     { "307", "PUT", "PUT", true },
    { "308", "POST", "POST", true },   { "308", "PUT", "PUT", true },
    { "308", "HEAD", "HEAD", true },
};

static char large[200000];

// curl -X PUT keeps its method after 303, and sends no body after 307.
TEST(redirect_keeps_method_and_body_or_becomes_a_get_without_one)
{
    static const size_t sizes[] = { 0, 10, sizeof large };
    memset(large, '-', sizeof large);
    for (size_t i = 0; i < sizeof sent_again / sizeof *sent_again * 3; i++) {
        const struct sent_again *row = &sent_again[i / 3];
        size_t size = sizes[i % 3];
        char answer[128], expected[16];
        test_note("%s %s, %zu bytes", row->status, row->method, size);
        sprintf(answer,
                "HTTP/1.1 %s Moved\r\nLocation: x\r\nContent-Length: 0\r\n\r\n",
                row->status);
        CHECK_INT(RUN(trip, .pages = PAGES(PAGE('A', "/start", answer)),
                      .request = { .method = row->method,
                                   .body = large,
                                   .body_size = size,
                                   HEADERS({ "Content-Type", "text/x" },
                                           { "content-language", "de" },
                                           { "Content-Encoding", "x" },
                                           { "Content-Location", "/x" },
                                           { "Digest", "x" },
                                           { "Last-Modified", "x" },
                                           { "Expect", "x" },
                                           { "X-Other", "kept" }) }),
                  0);
        CHECK_INT(got.status, 200);
        snprintf(expected, sizeof expected, "%s /x ", row->next);
        CHECK(strncmp(a.head, expected, strlen(expected)) == 0);
        CHECK_INT(a.body_n, row->body ? size : 0);
        CHECK_STR(told(&a, "Content-Type"), row->body ? "text/x" : "");
        CHECK_STR(told(&a, "Content-Language"), row->body ? "de" : "");
        CHECK_STR(told(&a, "Content-Encoding"), row->body ? "x" : "");
        CHECK_STR(told(&a, "Content-Location"), row->body ? "/x" : "");
        CHECK_STR(told(&a, "Digest"), row->body ? "x" : "");
        CHECK_STR(told(&a, "Last-Modified"), row->body ? "x" : "");
        CHECK_STR(told(&a, "Expect"), row->body ? "x" : "");
        CHECK_STR(told(&a, "X-Other"), "kept");
        CHECK_STR(told(&a, "User-Agent"), "coil/0.1");
        CHECK_INT(a.accepted, 1);
        bool length = row->body &&
                      (size > 0 || strstr("POST PUT PATCH", row->next));
        snprintf(expected, sizeof expected, "%zu", size);
        CHECK_STR(told(&a, "Content-Length"), length ? expected : "");
    }
}

// The small body stands behind the head, and is found there at each hop.
TEST(redirect_keeps_the_body_over_several_hops)
{
    CHECK_INT(RUN(trip,
                  .pages = PAGES(PAGE('A', "/start", TO(307, "$B/1")),
                                 PAGE('B', "/1", TO(308, "$A/2")),
                                 PAGE('A', "/2", TO(307, "/3"))),
                  .request = { .method = "POST",
                               .body = "0123456789",
                               .body_size = 10 }),
              0);
    CHECK_STR(got.trail, "307 $A/start -> 308 $B/1 -> 307 $A/2 -> 200 $A/3");
    CHECK_STR(a.body, "0123456789");
}

/* A server that answers before it has read the body, and then closes. */
TEST(redirect_in_mid_upload_sends_the_body_again_from_its_beginning)
{
    memset(large, '-', sizeof large);
    large[0] = '<';
    const struct page pages[] = {
        { .at = 'A',
          .path = "/start",
          .steps = { THEN(DEAF), SAYS(TO(307, "$B/x")), THEN(CLOSE) } },
        { 0 },
    };
    CHECK_INT(RUN(trip, .pages = pages,
                  .request = { .method = "PUT",
                               .body = large,
                               .body_size = sizeof large }),
              0);
    CHECK_INT(b.body_n, sizeof large);
    CHECK_INT(b.body[0], '<');
}

static const char *const plain[] = { "300", "304", "305", "306", "200", "404" };

// Nor is 301 without a Location, or with an empty one, as in curl.
TEST(redirect_of_other_statuses_is_an_answer)
{
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        char answer[128], trail[64];
        sprintf(answer,
                "HTTP/1.1 %s No\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n",
                plain[i]);
        CHECK_INT(RUN(trip, .pages = PAGES(PAGE('A', "/start", answer))), 0);
        sprintf(trail, "%s $A/start", plain[i]);
        CHECK_STR(got.trail, trail);
    }
    CHECK_INT(RUN(trip, .pages = PAGES(PAGE('A', "/start", TO(301, "")))), 0);
    CHECK_STR(got.trail, "301 $A/start");
    CHECK_INT(RUN(trip,
                  .pages = PAGES(PAGE('A', "/start",
                                      "HTTP/1.1 302 Found\r\n"
                                      "Content-Length: 4\r\n\r\nhere"))),
              0);
    CHECK_STR(got.trail, "302 $A/start");
    CHECK_STR(got.body, "here");
}

/* ---- Where to ------------------------------------------------------------ */

static const struct location {
    const char *location, *url, *trail, *path;
    int err;
} locations[] = {
    { "/y", NULL, "$A/y", "/y", 0 },
    { "y", "$A/d/start?q", "$A/d/y", "/d/y", 0 },
    { "?q=2", NULL, "$A/start?q=2", "/start?q=2", 0 },
    { "../x", "$A/d/e/start", "$A/d/x", "/d/x", 0 },
    { "/a/./b/../c", NULL, "$A/a/c", "/a/c", 0 },
    { "../../../x", NULL, "$A/x", "/x", 0 },
    { "$B", NULL, "$B", "/", 0 },
    { "$B?x", NULL, "$B?x", "/?x", 0 },
    { "$B/y", "$A/start#f", "$B/y#f", "/y", 0 },

    /* The fragment is inherited, and never sent. */
    { "/p", "$A/start#f", "$A/p#f", "/p", 0 },
    { "/p#g", "$A/start#f", "$A/p#g", "/p", 0 },
    { "/p#", "$A/start#f", "$A/p#", "/p", 0 },
    { "/p#g", NULL, "$A/p#g", "/p", 0 },

    /* Bytes that no URL has. */
    { "/a b", NULL, "$A/a%20b", "/a%20b", 0 },
    { "/\xE9?\xC3\xA9", NULL, "$A/%E9?%C3%A9", "/%E9?%C3%A9", 0 },
    { "/{}|\"<>^`\\", NULL, "$A/{}|\"<>^`\\", "/{}|\"<>^`\\", 0 },
    { "/%zz%", NULL, "$A/%zz%", "/%zz%", 0 },

    /* Never another host. */
    { "\\/h/z", NULL, "$A/\\/h/z", "/\\/h/z", 0 },
    { "/\\h/z", NULL, "$A/\\h/z", "/\\h/z", 0 },
    { "http:\\\\h/", NULL, NULL, NULL, COIL_EURL },
    { "http:///x", NULL, NULL, NULL, COIL_EURL },
    { "http:/end", NULL, NULL, NULL, COIL_EURL },
    { "http:end", NULL, NULL, NULL, COIL_EURL },
    { "http://127.1/", NULL, NULL, NULL, COIL_EURL },
    { "//2130706433", NULL, NULL, NULL, COIL_EURL },
    { "http://0x7f.1", NULL, NULL, NULL, COIL_EURL },
    { "HTTP://h:99999/", NULL, NULL, NULL, COIL_EURL },
    { "http://\xC3\xA9/", NULL, NULL, NULL, COIL_EURL },
    { "http://u\\@h/", NULL, NULL, NULL, COIL_EURL },
};

TEST(redirect_goes_where_the_location_says)
{
    for (size_t i = 0; i < sizeof locations / sizeof *locations; i++) {
        const struct location *row = &locations[i];
        const char *url = row->url ? row->url : "$A/start";
        char answer[512], path[64], trail[256];
        test_note("Location: %s at %s", row->location, url);
        snprintf(answer, sizeof answer,
                 "HTTP/1.1 302 Found\r\nLocation: %s\r\n"
                 "Content-Length: 0\r\n\r\n",
                 row->location);
        snprintf(path, sizeof path, "%.*s", (int)strcspn(url + 2, "#"),
                 url + 2);
        CHECK_INT(RUN(trip, .pages = PAGES(PAGE('A', path, answer)),
                      .url = url),
                  row->err);
        if (row->err)
            continue;
        snprintf(trail, sizeof trail, "302 %s -> 200 %s", url, row->trail);
        CHECK_STR(got.trail, trail);
        CHECK_STR(got.body, row->path);
    }
}

// `//h/y` is another server with the same scheme.
TEST(redirect_to_a_url_without_a_scheme_keeps_the_scheme)
{
    CHECK_INT(RUN(trip, .pages = PAGES(PAGE('A', "/start", TO(301, "//$b/y")))),
              0);
    CHECK_STR(got.trail, "301 $A/start -> 200 $B/y");
}

/* ---- What is not followed ------------------------------------------------ */

static const struct not_followed {
    const char *location, *words;
    enum coil_http_redirect_fault fault;
} not_followed[] = {
    { "https://h.example:8443/a/b?token=1#x",
      "headers: The redirect is not followed: https://h.example:8443/a/b: "
      "https:// needs TLS: set options.tls of the session",
      COIL_HTTP_REDIRECT_TLS },
    { "https://u:secret@h/",
      "headers: The redirect is not followed: https://h/: "
      "https:// needs TLS: set options.tls of the session",
      COIL_HTTP_REDIRECT_TLS },
    { "file:///etc/passwd",
      "headers: The redirect is not followed: file:///etc/passwd: "
      "the scheme is neither http nor https",
      COIL_HTTP_REDIRECT_SCHEME },
    { "ftp://u:p@h/x y",
      "headers: The redirect is not followed: ftp://h/x%20y: "
      "the scheme is neither http nor https",
      COIL_HTTP_REDIRECT_SCHEME },
    { "mailto:me@h",
      "headers: The redirect is not followed: mailto:me@h: "
      "the scheme is neither http nor https",
      COIL_HTTP_REDIRECT_SCHEME },
    { "data:,"
      "0123456789012345678901234567890123456789012345678901234567890123456789"
      "0123456789012345678901234567890123456789",
      "headers: The redirect is not followed: data:,0123456789012345678901234"
      "5678901234567890123456789012345678901234567890123...: "
      "the scheme is neither http nor https",
      COIL_HTTP_REDIRECT_SCHEME },
};

// In logs, too, no password and no token.
TEST(redirect_that_is_not_followed_names_the_url)
{
    for (size_t i = 0; i < sizeof not_followed / sizeof *not_followed; i++) {
        const struct not_followed *row = &not_followed[i];
        char answer[512];
        snprintf(answer, sizeof answer,
                 "HTTP/1.1 301 Moved\r\nLocation: %s\r\n"
                 "Content-Length: 6\r\n\r\nclosed",
                 row->location);
        CHECK_INT(RUN(trip, .pages = PAGES(PAGE('A', "/start", answer))),
                  COIL_EREDIRECT);
        CHECK_STR(got.words, row->words);
        CHECK_INT(COIL_HTTP_REDIRECT_FAULT(got.detail), row->fault);
    }
}

// The words of a redirect that failed before three others are not there any
// more; those of another one are never taken for them.
TEST(redirect_words_that_are_not_kept_say_the_fault_only)
{
    const struct page *pages = PAGES(PAGE('A', "/start", TO(301, "ftp://x/1")));
    char words[256];
    CHECK_INT(RUN(trip, .pages = pages), COIL_EREDIRECT);
    uint32_t first = got.detail;
    for (int i = 0; i < 3; i++) {
        CHECK(strstr(coil_explain(COIL_EREDIRECT, first, words, sizeof words),
                     "ftp://x/1"));
        CHECK_INT(RUN(trip, .pages = PAGES(PAGE('A', "/start",
                                                TO(301, "ftp://y/2")))),
                  COIL_EREDIRECT);
        CHECK(strstr(got.words, "ftp://y/2"));
    }
    CHECK_INT(RUN(trip, .pages = pages), COIL_EREDIRECT);
    CHECK_STR(coil_explain(COIL_EREDIRECT, first, words, sizeof words),
              "headers: The redirect is not followed: the scheme is neither "
              "http nor https");
}

static const struct unlike {
    const char *fields, *trail;
    int err;
} unlike[] = {
    { "Location: /x\r\nlocation: /x\r\n", "302 $A/start -> 200 $A/x", 0 },
    { "Location: /x\r\nLocation: /y\r\n", NULL, COIL_EPROTOCOL },
    { "Location: /x\r\nLocation: \r\n", NULL, COIL_EPROTOCOL },
    { "Location: \r\nLocation: /x\r\n", NULL, COIL_EPROTOCOL },
    { "Location: /x\t/y\r\n", NULL, COIL_EPROTOCOL },
    { "Location: /x\x01\r\n", NULL, COIL_EPROTOCOL },
    { "Location: \t/x \r\n", "302 $A/start -> 200 $A/x", 0 },
};

TEST(redirect_to_two_places_is_followed_to_none)
{
    for (size_t i = 0; i < sizeof unlike / sizeof *unlike; i++) {
        char answer[256];
        test_note("%s", unlike[i].fields);
        snprintf(answer, sizeof answer,
                 "HTTP/1.1 302 Found\r\nContent-Length: 0\r\n%s\r\n",
                 unlike[i].fields);
        CHECK_INT(RUN(trip, .pages = PAGES(PAGE('A', "/start", answer))),
                  unlike[i].err);
        if (unlike[i].trail)
            CHECK_STR(got.trail, unlike[i].trail);
    }
    CHECK_STR(got.words, "");
}

#define RING \
    PAGES(PAGE('A', "/start", TO(302, "$B/1")), \
          PAGE('B', "/1", TO(302, "$A/2")), PAGE('A', "/2", TO(302, "/3")), \
          PAGE('A', "/3", TO(302, "/3")))

// There is no other search for loops: log-ins redirect to where they came from.
TEST(redirect_is_followed_as_often_as_redirects_max_says)
{
    CHECK_INT(RUN(trip, .pages = RING, .options = { .redirects_max = 2 }),
              COIL_EREDIRECT);
    CHECK_INT(COIL_HTTP_REDIRECT_FAULT(got.detail), COIL_HTTP_REDIRECT_LIMIT);
    CHECK(strstr(got.words, "/3: as many as redirects_max have been followed"));
    CHECK_INT(a.requests + b.requests, 3);

    CHECK_INT(RUN(trip, .pages = RING), COIL_EREDIRECT);
    CHECK_INT(a.requests + b.requests, 11);
    CHECK_INT(RUN(trip, .pages = RING, .options = { .redirects_max = 2 },
                  .request = { .redirects_max = 30 }),
              COIL_EREDIRECT);
    CHECK_INT(a.requests + b.requests, 31);

    CHECK_INT(RUN(trip, .pages = RING,
                  .options = { .redirects_max = COIL_HTTP_NO_REDIRECTS }),
              0);
    CHECK_STR(got.trail, "302 $A/start");
    CHECK_INT(RUN(trip, .pages = RING,
                  .request = { .redirects_max = COIL_HTTP_NO_REDIRECTS }),
              0);
    CHECK_STR(got.trail, "302 $A/start");
    CHECK_INT(RUN(trip,
                  .pages = PAGES(PAGE('A', "/start", TO(302, "/2")),
                                 PAGE('A', "/2", TO(302, "/3"))),
                  .request = { .redirects_max = 2 }),
              0);
    CHECK_STR(got.trail, "302 $A/start -> 302 $A/2 -> 200 $A/3");
}

DEATH_TEST(redirect_url_of_no_response_aborts,
           "coil_http_response_url: response is NULL")
{
    CHECK(coil_http_response_url(NULL));
}

DEATH_TEST(redirect_history_of_no_response_aborts,
           "coil_http_response_history: response is NULL")
{
    CHECK(coil_http_response_history(NULL));
}

struct resolve {
    struct coil_coro coro;
    const char *from, *location;
    struct coili_redirect_rules rules;
    struct coili_hop *hop, *next;
    int code;
};

static struct {
    char url[128], basic[128];
} resolved;

static void resolve(struct coil_coro *co)
{
    ASYNC(resolve, my) {
        struct coil_url url;
        my->hop = coili_hop_new(my->from);
        int err = coili_redirect_resolve(&my->next, &url, my->hop, my->location,
                                         my->rules, &my->code);
        if (err < 0)
            FAIL_WITH(err, COIL_DETAIL(COIL_PHASE_HEADERS, my->code));
        snprintf(resolved.url, sizeof resolved.url, "%s", my->next->text);
        snprintf(resolved.basic, sizeof resolved.basic, "%s",
                 my->next->basic ? my->next->basic : "none");

    FINALLY;
        coili_hops_free(my->hop);
        coili_hops_free(my->next);
    }
}

// Without TLS this cannot be seen from outside yet.
TEST(redirect_from_https_to_http_can_be_forbidden)
{
    const struct coili_redirect_rules tls = { .tls = true };
    const struct coili_redirect_rules strict = { .tls = true,
                                                 .no_downgrade = true };
    CHECK_INT(RUN(resolve, .from = "https://h/", .location = "http://h/",
                  .rules = tls),
              0);
    CHECK_INT(RUN(resolve, .from = "https://h/", .location = "http://h/",
                  .rules = strict),
              COIL_EREDIRECT);
    CHECK_INT(COIL_HTTP_REDIRECT_FAULT(coil_last_detail()),
              COIL_HTTP_REDIRECT_DOWNGRADE);
    CHECK_STR(coili_redirect_text(COIL_DETAIL_CODE(coil_last_detail())),
              "http://h/: no_downgrade forbids to leave https");
    CHECK_INT(RUN(resolve, .from = "https://h/", .location = "/x",
                  .rules = strict),
              0);
    CHECK_INT(RUN(resolve, .from = "http://h/", .location = "https://h/",
                  .rules = strict),
              0);
}

static const struct stripped {
    const char *from, *location, *url, *basic;
} stripped[] = {
    { "http://[::1]:8/#f", "http://u:p@[::1]:8/x", "http://[::1]:8/x#f",
      "Basic dTpw" },
    { "http://[::1]:8/", "http://u:p@[::1]:8?x#", "http://[::1]:8?x#",
      "Basic dTpw" },
    { "http://[::1]:8/", "//@[::2]:8", "http://[::2]:8", "none" },
    { "http://h", "HTTP://%3A@H.#u@h", "HTTP://H.#u@h", "none" },
    { "http://h", "HTTP://%3A@H#u@h", "HTTP://H#u@h", "none" },
    { "http://h", "HTTP://:%3A@H/u:p@h", "HTTP://H/u:p@h", "Basic Ojo=" },
    { "http://h", "http://abcdefghi@h", "http://h", "Basic YWJjZGVmZ2hpOg==" },
};

// What is left has no trace of them, wherever they stood.
TEST(redirect_takes_user_and_password_out_of_the_url)
{
    for (size_t i = 0; i < sizeof stripped / sizeof *stripped; i++) {
        test_note("%s", stripped[i].location);
        CHECK_INT(RUN(resolve, .from = stripped[i].from,
                      .location = stripped[i].location),
                  0);
        CHECK_STR(resolved.url, stripped[i].url);
        CHECK_STR(resolved.basic, stripped[i].basic);
    }
}

/* A Location and the fragment may be a URL each that together are too long. */
TEST(redirect_to_a_url_that_is_too_long_is_an_error)
{
    static char from[65530], location[40000];
    strcpy(from, "http://h/#");
    memset(from + 10, 'f', sizeof from - 11);
    memset(location, 'x', sizeof location - 1);
    location[0] = '/';
    CHECK_INT(RUN(resolve, .from = from, .location = location), COIL_EURL);
    CHECK_INT(COIL_DETAIL_CODE(coil_last_detail()), COIL_URL_FAULT_LONG);
    CHECK_INT(RUN(resolve, .from = "http://h/", .location = location), 0);
    memset(location, 0xE9, sizeof location - 1);
    CHECK_INT(RUN(resolve, .from = "http://h/", .location = location),
              COIL_EURL);
}

/* ---- Secrets ------------------------------------------------------------- */

#define SECRETS \
    HEADERS({ "Authorization", "Basic 1" }, { "authorization", "Basic 2" }, \
            { "Cookie", "c=1" }, { "COOKIE", "c=2" }, \
            { "Proxy-Authorization", "Basic 3" }, { "X-Api-Key", "k" }, \
            { "X-Other", "o" })

static void check_secrets(const struct origin *o, bool there, bool key)
{
    CHECK_STR(told(o, "Authorization"), there ? "Basic 1" : "");
    CHECK_STR(told(o, "Cookie"), there ? "c=1" : "");
    CHECK_STR(told(o, "Proxy-Authorization"), there ? "Basic 3" : "");
    CHECK_INT(strcasestr(o->head, "c=2") != NULL, there);
    CHECK_INT(strcasestr(o->head, "Basic 2") != NULL, there);
    CHECK_STR(told(o, "X-Api-Key"), key ? "k" : "");
    CHECK_STR(told(o, "X-Other"), "o");
}

// Each line of the name: aiohttp dropped the first one only.
TEST(redirect_to_another_origin_drops_all_secrets)
{
    const struct page *there = PAGES(PAGE('A', "/start", TO(302, "$B/x")));
    CHECK_INT(RUN(trip, .pages = there, .request = { SECRETS }), 0);
    check_secrets(&b, false, true);
    CHECK_INT(RUN(trip, .pages = there, .options = { SECRETS }), 0);
    check_secrets(&b, false, true);
    CHECK_INT(RUN(trip, .pages = PAGES(PAGE('A', "/start", TO(302, "/x"))),
                  .request = { SECRETS }),
              0);
    check_secrets(&a, true, true);
}

// Go's client sent them again when it came back.
TEST(redirect_does_not_restore_what_was_dropped)
{
    CHECK_INT(RUN(trip,
                  .pages = PAGES(PAGE('A', "/start", TO(302, "$B/1")),
                                 PAGE('B', "/1", TO(302, "/2"))),
                  .request = { SECRETS }),
              0);
    CHECK_STR(got.trail, "302 $A/start -> 302 $B/1 -> 200 $B/2");
    check_secrets(&b, false, true);
    CHECK_INT(RUN(trip,
                  .pages = PAGES(PAGE('A', "/start", TO(302, "$B/1")),
                                 PAGE('B', "/1", TO(302, "$A/2"))),
                  .options = { SECRETS }),
              0);
    check_secrets(&a, false, true);
}

// The same address by another name is another origin, and so is a subdomain.
TEST(redirect_to_another_host_or_port_is_to_another_origin)
{
    struct coil_url from, to;
    CHECK_INT(coil_url_parse(&from, "http://foo.com", 14), 0);
    CHECK_INT(coil_url_parse(&to, "http://www.foo.com", 18), 0);
    CHECK(!coil_url_same_origin(&from, &to));
    CHECK_INT(coil_url_parse(&to, "https://foo.com", 15), 0);
    CHECK(!coil_url_same_origin(&from, &to));
}

static const char *const my_secrets[] = { "x-api-key", "X-None" };

// coil cannot know what X-Api-Key means.
TEST(redirect_drops_secret_headers_that_the_session_names)
{
    const struct coil_http_session_options o = { .secret_headers = my_secrets,
                                                 .secret_headers_n = 2 };
    CHECK_INT(RUN(trip, .pages = PAGES(PAGE('A', "/start", TO(302, "$B/x"))),
                  .request = { SECRETS }, .options = o),
              0);
    check_secrets(&b, false, false);
    CHECK_INT(RUN(trip, .pages = PAGES(PAGE('A', "/start", TO(302, "/x"))),
                  .request = { SECRETS }, .options = o),
              0);
    check_secrets(&a, true, true);
}

static void forget_names(const char *const *names, size_t n)
{
    struct coil_http_session_options o = COIL_HTTP_SESSION_OPTIONS_INIT;
    o.secret_headers = names;
    o.secret_headers_n = n;
    CHECK(coil_http_session_new(&o));
}

DEATH_TEST(redirect_secret_headers_that_are_not_given_abort,
           "coil_http_session_new: secret_headers is NULL")
{
    forget_names(NULL, 1);
}

DEATH_TEST(redirect_secret_header_without_a_name_aborts,
           "coil_http_session_new: a name in secret_headers is NULL")
{
    forget_names(&(const char *){ NULL }, 1);
}

static const struct user {
    const char *location, *sent;
} users[] = {
    { "http://u:p@$a/x", "Basic dTpw" },
    { "http://u@$a/x", "Basic dTo=" },
    { "http://u:@$a/x", "Basic dTo=" },
    { "http://:p@$a/x", "Basic OnA=" },
    { "http://@$a/x", "Basic Og==" },
    { "http://%41l:%2B%3a%ff@$a/x", "Basic QWw6Kzr/" },
    { "http://Aladdin:open%20sesame@$a/x",
      "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==" },
    { "http://a%3Ab:p@$a/x", "" }, /* Basic cannot say it */
};

// They are in no URL that is shown, and are sent to that URL only.
TEST(redirect_to_its_own_origin_may_give_a_user_and_a_password)
{
    for (size_t i = 0; i < sizeof users / sizeof *users; i++) {
        char answer[256];
        test_note("%s", users[i].location);
        snprintf(answer, sizeof answer,
                 "HTTP/1.1 302 Found\r\nLocation: %s\r\n"
                 "Content-Length: 0\r\n\r\n",
                 users[i].location);
        CHECK_INT(RUN(trip, .pages = PAGES(PAGE('A', "/start", answer))), 0);
        CHECK_STR(got.trail, "302 $A/start -> 200 $A/x");
        CHECK_STR(told(&a, "Authorization"), users[i].sent);
    }
    CHECK_INT(RUN(trip,
                  .pages = PAGES(PAGE('A', "/start",
                                      TO(302, "http://u:p@$a/x")),
                                 PAGE('A', "/x", TO(302, "/y")))),
              0);
    CHECK_STR(got.trail, "302 $A/start -> 302 $A/x -> 200 $A/y");
    CHECK_STR(told(&a, "Authorization"), "");
}

TEST(redirect_to_another_origin_gives_no_user_and_no_password)
{
    CHECK_INT(RUN(trip, .pages = PAGES(PAGE('A', "/start",
                                            TO(302, "http://u:p@$b/x")))),
              0);
    CHECK_STR(got.trail, "302 $A/start -> 200 $B/x");
    CHECK_STR(told(&b, "Authorization"), "");
}

// What the program says is more than what a server says.
TEST(redirect_user_does_not_replace_an_authorization_of_the_request)
{
    CHECK_INT(RUN(trip,
                  .pages = PAGES(PAGE('A', "/start",
                                      TO(302, "http://u:p@$a/x")),
                                 PAGE('A', "/x", TO(302, "/y"))),
                  .request = { HEADERS({ "authorization", "Bearer 1" }) }),
              0);
    CHECK_STR(told(&a, "Authorization"), "Bearer 1");
}

/* ---- Connections and bodies ---------------------------------------------- */

// With a limit of 1 a redirect that kept its connection would wait for itself.
TEST(redirect_with_one_connection_in_all_waits_for_nothing)
{
    static const struct page chain[] = {
        PAGE('A', "/start", TO(302, "/1")),
        PAGE('A', "/1",
             "HTTP/1.1 302 Found\r\nLocation: $B/2\r\n"
             "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
        { .at = 'B',
          .path = "/2",
          .steps = { SAYS("HTTP/1.1 307 Moved\r\nLocation: /3\r\n"
                          "Content-Length: 6\r\n\r\nabc"),
                     WAITS(COIL_MS(5)), SAYS("def") } },
        { .at = 'B',
          .path = "/3",
          .steps = { SAYS("HTTP/1.1 301 Moved\r\nLocation: $A/4\r\n\r\nx"),
                     THEN(CLOSE) } },
        { 0 },
    };
    for (unsigned per_host = 0; per_host < 2; per_host++) {
        CHECK_INT(RUN(trip, .pages = chain,
                      .options = { .limit = 1, .limit_per_host = per_host },
                      .request = { .timeouts.pool_ns = COIL_SECONDS(5) }),
                  0);
        CHECK_STR(got.trail, "302 $A/start -> 302 $A/1 -> 307 $B/2 -> "
                             "301 $B/3 -> 200 $A/4");
        CHECK_INT(b.accepted, 1); /* the body of /2 was waited for */
    }
}

static const struct rest {
    const char *what;
    struct step steps[4];
    unsigned accepted;
    size_t poured_most;
} rests[] = {
    { "64 KiB",
      { SAYS("HTTP/1.1 302 Found\r\nLocation: /x\r\n"
             "Content-Length: 65536\r\n\r\n"),
        POURS(65536) },
      1, 65536 },
    { "64 KiB and a byte",
      { SAYS("HTTP/1.1 302 Found\r\nLocation: /x\r\n"
             "Content-Length: 65537\r\n\r\n"),
        POURS(65537) },
      2, 65537 },
    { "1 GiB",
      { SAYS("HTTP/1.1 302 Found\r\nLocation: /x\r\n"
             "Content-Length: 1073741824\r\n\r\n"),
        POURS(1 << 30) },
      2, 16 << 20 },
    { "without an end",
      { SAYS("HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n"), POURS(1 << 30) },
      2, 16 << 20 },
    { "a chunk of 1 GiB",
      { SAYS("HTTP/1.1 302 Found\r\nLocation: /x\r\n"
             "Content-Encoding: gzip\r\n"
             "Transfer-Encoding: chunked\r\n\r\n40000000\r\n"),
        POURS(1 << 30) },
      2, 16 << 20 },
    { "a body that stops",
      { SAYS("HTTP/1.1 302 Found\r\nLocation: /x\r\n"
             "Content-Length: 10\r\n\r\n012"),
        THEN(HANG) },
      2, 0 },
    { "a body that breaks off",
      { SAYS("HTTP/1.1 302 Found\r\nLocation: /x\r\n"
             "Content-Length: 10\r\n\r\n012"),
        THEN(RESET) },
      2, 0 },
    { "a body that is none",
      { SAYS("HTTP/1.1 302 Found\r\nLocation: /x\r\n"
             "Transfer-Encoding: chunked\r\n\r\nnone\r\n") },
      2, 0 },
    { "Connection: close",
      { SAYS("HTTP/1.1 302 Found\r\nLocation: /x\r\nConnection: close\r\n"
             "Content-Length: 1\r\n\r\n.") },
      2, 0 },
};

// Whatever it is, nothing of it becomes the answer's.
TEST(redirect_body_is_skipped_if_it_is_small_and_else_not_waited_for)
{
    for (size_t i = 0; i < sizeof rests / sizeof *rests; i++) {
        struct page pages[] = { { .at = 'A', .path = "/start" }, { 0 } };
        memcpy(pages[0].steps, rests[i].steps, sizeof pages[0].steps);
        test_note("%s", rests[i].what);
        CHECK_INT(RUN(trip, .pages = pages, .options = { .limit = 1 }), 0);
        CHECK_STR(got.trail, "302 $A/start -> 200 $A/x");
        CHECK_STR(got.body, "/x");
        CHECK_INT(a.accepted, rests[i].accepted);
        CHECK(a.poured <= rests[i].poured_most);
    }
}

// POST must not be repeated, the GET that it has become may be.
TEST(redirect_over_a_kept_connection_that_is_dead_is_repeated)
{
    static const struct page pages[] = {
        { .at = 'A',
          .path = "/start",
          .steps = { SAYS(TO(303, "/x")), WAITS(COIL_MS(5)), THEN(CLOSE) } },
        { 0 },
    };
    CHECK_INT(RUN(trip, .pages = pages,
                  .request = { .method = "POST",
                               .body = "0123456789",
                               .body_size = 10 }),
              0);
    CHECK_STR(got.trail, "303 $A/start -> 200 $A/x");
}

/* ---- Time-outs ----------------------------------------------------------- */

#define SLOWLY(server, where, text) \
    { .at = server, .path = where, .steps = { WAITS(COIL_MS(50)), SAYS(text) } }

static const struct page slow[] = {
    SLOWLY('A', "/start", TO(302, "$B/1")),
    SLOWLY('B', "/1", TO(302, "$A/2")),
    SLOWLY('A', "/2", TO(302, "$B/3")),
    SLOWLY('B', "/3", TO(302, "$A/4")),
    { 0 },
};

TEST(redirect_total_covers_all_hops_and_read_is_of_each)
{
    CHECK_INT(RUN(trip, .pages = slow,
                  .request = { .timeouts = { .total_ns = COIL_MS(130) } }),
              -ETIMEDOUT);
    CHECK_INT(COIL_DETAIL_CODE(got.detail), COIL_HTTP_CLOCK_TOTAL);
    CHECK(a.requests + b.requests < 5);
    CHECK_INT(RUN(trip, .pages = slow,
                  .request = { .timeouts = { .read_ns = COIL_MS(10) } }),
              -ETIMEDOUT);
    CHECK_INT(COIL_DETAIL_CODE(got.detail), COIL_HTTP_CLOCK_READ);
    CHECK_INT(a.requests + b.requests, 1);
    CHECK_INT(RUN(trip, .pages = slow,
                  .request = { .timeouts = { .total_ns = COIL_SECONDS(20),
                                             .read_ns = COIL_SECONDS(10) } }),
              0);
}

/* Another request has the only connection while the redirect is on its way. */
struct crowded {
    struct coil_coro coro;
    struct coil_http_session *session;
    struct coil_task *first;
    struct coil_http_response *response;
    int err;
    char moved[128], half[128];
};

static void crowded(struct coil_coro *co)
{
    ASYNC(crowded, my) {
        struct coil_http_session_options o = COIL_HTTP_SESSION_OPTIONS_INIT;
        o.limit = 1;
        CHECK_INT(origin_open(&a, routes[0]), 0);
        serve(PAGES(SLOWLY('A', "/moved", TO(302, "/x")),
                    PAGE('A', "/half",
                         "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")));
        my->session = coil_http_session_new(&o);
        expand(my->moved, "$A/moved");
        expand(my->half, "$A/half");
        my->first = SPAWN(fetch, .session = my->session,
                          .request = { .url = my->moved,
                                       .timeouts.pool_ns = COIL_MS(20) });
        AWAIT(coil_sleep(COIL_MS(1)));
        AWAIT_TO(my->response, coil_http_get(my->session, my->half));
        TRY_AWAIT(my->err, my->first);
        CHECK_ERR(my->err, -ETIMEDOUT, COIL_PHASE_POOL);
        CHECK_INT(COIL_DETAIL_CODE(coil_last_detail()), COIL_HTTP_CLOCK_POOL);

    FINALLY;
        coil_http_response_free(my->response);
        AWAIT(coil_http_session_close(my->session));
        AWAIT(origin_close(&a));
    }
}

// It stands at the end of the line again, and pool_ns begins again.
TEST(redirect_waits_for_a_connection_like_a_new_request)
{
    CHECK_INT(RUN(crowded), 0);
}

/* ---- Addresses ----------------------------------------------------------- */

struct asked {
    int n, most;
    uint16_t ports[4];
};

static bool allow_some(void *arg, const struct coil_addr *addr)
{
    struct asked *asked = arg;
    CHECK(asked->n < 4);
    CHECK_INT(addr->u.sa.sa_family, AF_INET);
    asked->ports[asked->n++] = coil_addr_port(addr);
    return asked->n <= asked->most;
}

// A server that is trusted can redirect to 10.0.0.1: the name that the program
// checked is not where the request goes.
TEST(redirect_asks_about_the_address_of_every_hop)
{
    const struct page *pages = PAGES(PAGE('A', "/start", TO(302, "$B/x")),
                                     PAGE('B', "/x", TO(302, "$A/y")));
    struct asked asked = { .most = 4 };
    CHECK_INT(RUN(trip, .pages = pages,
                  .options = { .allow_address = allow_some,
                               .allow_address_arg = &asked }),
              0);
    CHECK_INT(asked.n, 2); /* the connection to A was kept */
    CHECK_INT(asked.ports[0], a.port);
    CHECK_INT(asked.ports[1], b.port);

    for (int i = 0; i < 2; i++) {
        asked = (struct asked){ .most = i };
        CHECK_INT(RUN(trip, .pages = pages,
                      .options = { .allow_address = allow_some,
                                   .allow_address_arg = &asked }),
                  -EACCES);
        CHECK_STR(got.words, "connect: Permission denied: allow_address has "
                             "refused the address");
        CHECK_INT(asked.n, i + 1);
        CHECK_INT(a.accepted, i);
        CHECK_INT(b.accepted, 0);
    }
}

/* ---- Cancelled, closed, without memory ----------------------------------- */

static const struct page obstacles[] = {
    { .at = 'A',
      .path = "/start",
      .steps = { { .act = DRIP, .text = TO(307, "$B/1") } } },
    { .at = 'B',
      .path = "/1",
      .steps = { SAYS("HTTP/1.1 308 Moved\r\nLocation: /2\r\n"
                      "Content-Length: 6\r\n\r\nabc"),
                 WAITS(COIL_US(100)), SAYS("def") } },
    { .at = 'B',
      .path = "/2",
      .steps = { SAYS("HTTP/1.1 302 Moved\r\nLocation: $A/3\r\n\r\nx"),
                 THEN(CLOSE) } },
    { 0 },
};

/* Cancel the request, or close its session, after `passes`. */
struct interrupted {
    struct coil_coro coro;
    int passes;
    bool close;
    struct coil_http_session *session;
    struct coil_task *task;
    int i, err;
    char url[128];
};

static bool was_interrupted;

static void interrupted(struct coil_coro *co)
{
    ASYNC(interrupted, my) {
        struct coil_http_session_options o = COIL_HTTP_SESSION_OPTIONS_INIT;
        o.limit = 1;
        CHECK_INT(origin_open(&a, routes[0]), 0);
        CHECK_INT(origin_open(&b, routes[1]), 0);
        serve(obstacles);
        my->session = coil_http_session_new(&o);
        my->task = SPAWN(fetch, .session = my->session,
                         .request = { .url = expand(my->url, "$A/start"),
                                      .method = "PUT",
                                      .body = large,
                                      .body_size = 50000 });
        for (; my->i < my->passes && !coil_task_done(my->task); my->i++)
            AWAIT(coil_sleep(0));
        was_interrupted = !coil_task_done(my->task);
        if (my->close) {
            AWAIT(coil_http_session_close(my->session));
            my->session = NULL;
        } else {
            coil_task_cancel(my->task);
        }
        TRY_AWAIT(my->err, my->task);
        if (was_interrupted && !my->close)
            CHECK(my->err == -ECANCELED || my->err == 0);
        if (was_interrupted && my->close)
            CHECK(my->err == COIL_ECLOSED || my->err == 0);
        if (my->session) /* the one connection is free again */
            AWAIT(CALL(fetch, .session = my->session,
                       .request = { .url = expand(my->url, "$A/last"),
                                    .timeouts.pool_ns = COIL_SECONDS(5) }));

    FINALLY;
        AWAIT(coil_http_session_close(my->session));
        AWAIT(origin_close(&a));
        AWAIT(origin_close(&b));
    }
}

static int interrupt_at[2];

static int run_interrupted(void)
{
    return RUN(interrupted, .passes = interrupt_at[0],
               .close = interrupt_at[1]);
}

static void interrupt_everywhere(bool close)
{
    test_timeout(120);
    interrupt_at[1] = close;
    do {
        test_note("after %d passes", interrupt_at[0]);
        CHECK_INT(test_leaves_nothing(run_interrupted), 0);
        interrupt_at[0] += interrupt_at[0] < 200 ? 1 : 13;
    } while (was_interrupted);
    CHECK(interrupt_at[0] > 50);
}

TEST(redirect_that_is_cancelled_at_any_await_loses_nothing)
{
    interrupt_everywhere(false);
}

TEST(redirect_in_a_session_that_closes_at_any_time_ends)
{
    interrupt_everywhere(true);
}

/*
 * A server of another process, so that what fails is the client; of a
 * grandchild, which the harness does not take for a leak. It redirects
 * everything but the path /end, with a body that has not come whole.
 */
static struct {
    pid_t pid;
    char url[64];
} elsewhere;

static void elsewhere_answer(int fd, unsigned port)
{
    static char in[65536], out[512];
    bool head = true, end = false;
    ssize_t n;
    while ((n = read(fd, in, sizeof in - 1)) > 0) {
        in[n] = '\0';
        end = head ? strstr(in, " /end ") != NULL : end;
        head = in[n - 1] == '$'; /* the end of each request's body */
        if (!head)
            continue;
        snprintf(out, sizeof out,
                 "HTTP/1.1 %s x\r\nLocation: http://u:p@127.0.0.1:%u/end#f\r\n"
                 "Content-Length: 6\r\n\r\n012",
                 end ? "200" : "307", port);
        if (send(fd, out, strlen(out), MSG_NOSIGNAL) < 0)
            break;
        usleep(200);
        if (send(fd, "345", 3, MSG_NOSIGNAL) < 0)
            break;
    }
    close(fd);
}

static void elsewhere_open(void)
{
    struct coil_addr addr;
    CHECK_INT(coil_addr_from_ip(&addr, "127.0.0.1", 0), 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_INT(bind(fd, &addr.u.sa, addr.len), 0);
    CHECK_INT(listen(fd, 100), 0);
    CHECK_INT(coil_addr_local(&addr, fd), 0);
    unsigned port = coil_addr_port(&addr);
    snprintf(elsewhere.url, sizeof elsewhere.url, "http://127.0.0.1:%u/start",
             port);
    int tell[2];
    CHECK_INT(pipe(tell), 0);
    pid_t child = fork();
    if (child == 0) {
        pid_t pid = fork();
        if (pid == 0)
            for (;;)
                elsewhere_answer(accept(fd, NULL, NULL), port);
        _exit(write(tell[1], &pid, sizeof pid) != sizeof pid);
    }
    int status;
    CHECK_INT(waitpid(child, &status, 0), child);
    CHECK_INT(status, 0);
    CHECK_INT(read(tell[0], &elsewhere.pid, sizeof(pid_t)), sizeof(pid_t));
    close(tell[0]);
    close(tell[1]);
    close(fd);
}

static struct coil_http_header many[40];

struct frugally {
    struct coil_coro coro;
    struct coil_http_session *session;
    int i;
};

static void frugally(struct coil_coro *co)
{
    ASYNC(frugally, my) {
        struct coil_http_session_options o = COIL_HTTP_SESSION_OPTIONS_INIT;
        o.limit = 1;
        o.secret_headers = my_secrets;
        o.secret_headers_n = 2;
        my->session = coil_http_session_new(&o);
        if (!my->session)
            FAIL(-ENOMEM);
        for (; my->i < 2; my->i++)
            AWAIT(CALL(fetch, .session = my->session,
                       .request = { .url = elsewhere.url,
                                    .method = "PUT",
                                    .headers = many,
                                    .headers_n = my->i == 0 ? 1 : 40,
                                    .body = large + (my->i == 0
                                                         ? sizeof large - 10
                                                         : 0),
                                    .body_size = my->i == 0 ? 10
                                                            : sizeof large }));

    FINALLY;
        AWAIT(coil_http_session_close(my->session));
    }
}

static int frugal_run(void)
{
    return RUN(frugally);
}

TEST(redirect_survives_every_allocation_that_fails)
{
    test_timeout(120);
    memset(large, '-', sizeof large);
    large[sizeof large - 1] = '$';
    for (int i = 0; i < 40; i++)
        many[i] = (struct coil_http_header){ "X-Many", "times" };
    elsewhere_open();
    CHECK_INT(frugal_run(), 0);
    test_every_allocation(frugal_run);
    kill(elsewhere.pid, SIGKILL);
}
