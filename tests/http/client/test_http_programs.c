// SPDX-License-Identifier: MIT
// labels: http
/*
 * test_http_programs.c: the small programs by which talks on concurrency
 * compare libraries, each written as its own library's users would write it.
 *
 * The server delays each answer and counts. Counts and order are checked, never
 * how long something took.
 */
#include "origin.h"

#include <coil/semaphore.h>

#define STAGE \
    struct coil_coro coro; \
    struct origin origin; \
    struct coil_http_session *session; \
    int err, i

/* ---- Six pages, one after the other (synchronous) ----------------------- */

static const char *const pages[] = { "/delay/9/python", "/delay/4/ruby",
                                     "/delay/1/perl",   "/delay/6/c",
                                     "/delay/3/go",     "/delay/2/lua" };

struct page {
    struct coil_coro coro;
    struct coil_http_session *session;
    struct coil_http_response *response;
    const struct origin *origin;
    const char *path;
    size_t size;
};

static void page(struct coil_coro *co)
{
    ASYNC(page, my) {
        AWAIT_TO(my->response,
                 coil_http_get(my->session, origin_url(my->origin, my->path)));
        AWAIT_TO(my->size, coil_http_response_read(my->response));
        RETURN(my->size);

    FINALLY;
        coil_http_response_free(my->response);
    }
}

struct one_by_one {
    STAGE;
    size_t n, sum;
};

static void one_by_one(struct coil_coro *co)
{
    ASYNC(one_by_one, my) {
        CHECK_INT(origin_open(&my->origin, NULL), 0);
        my->session = coil_http_session_new(NULL);
        for (; my->i < 6; my->i++) {
            AWAIT_TO(my->n, CALL(page, .session = my->session,
                                 .origin = &my->origin,
                                 .path = pages[my->i]));
            CHECK_INT(my->n, strlen(pages[my->i]));
            my->sum += my->n;
        }
        CHECK_INT(my->sum, 15 + 13 + 13 + 10 + 11 + 12);
        CHECK_INT(my->origin.most_busy, 1);
        CHECK_INT(my->origin.accepted, 1);
        CHECK_STR(my->origin.order, "python ruby perl c go lua");

    FINALLY;
        AWAIT(coil_http_session_close(my->session));
        AWAIT(origin_close(&my->origin));
    }
}

TEST(programs_six_pages_one_after_the_other)
{
    CHECK_INT(RUN(one_by_one), 0);
}

/* ---- The same at once (asyncio, aiohttp: wait) -------------------------- */

struct at_once {
    STAGE;
    struct coil_task *tasks[6];
    size_t n, sum;
};

static void at_once(struct coil_coro *co)
{
    ASYNC(at_once, my) {
        CHECK_INT(origin_open(&my->origin, NULL), 0);
        my->session = coil_http_session_new(NULL);
        for (int i = 0; i < 6; i++)
            my->tasks[i] = SPAWN(page, .session = my->session,
                                 .origin = &my->origin, .path = pages[i]);
        AWAIT_TO(my->n,
                 coil_wait(my->tasks, 6, COIL_ALL_COMPLETED, COIL_NEVER));
        CHECK_INT(my->n, 6);
        for (; my->i < 6; my->i++) {
            AWAIT_TO(my->n, my->tasks[my->i]);
            my->sum += my->n;
        }
        CHECK_INT(my->sum, 15 + 13 + 13 + 10 + 11 + 12);
        CHECK_INT(my->origin.accepted, 6);
        CHECK_STR(my->origin.order, "python ruby perl c go lua");

    FINALLY;
        AWAIT(coil_http_session_close(my->session));
        AWAIT(origin_close(&my->origin));
    }
}

TEST(programs_six_pages_at_once)
{
    CHECK_INT(RUN(at_once), 0);
}

/* ---- 500 requests, Semaphore(100), as_completed (asyncio) --------------- */

#define REQUESTS 500
#define AT_ONCE 100

/* The delay of a request in ms: as good as random, and the same every time. */
static int delay_of(int i)
{
    return (int)(((unsigned)i * 2654435761u >> 16) % 20) + 1;
}

struct numbered {
    struct coil_coro coro;
    struct coil_http_session *session;
    struct coil_semaphore *limit;
    const struct origin *origin;
    struct coil_http_response *response;
    int i;
    char path[64];
};

/* Gives the number that the server has sent back. */
static void numbered(struct coil_coro *co)
{
    ASYNC(numbered, my) {
        if (my->limit)
            HOLD(my->limit);
        snprintf(my->path, sizeof my->path, "/delay/%d/%d", delay_of(my->i),
                 my->i);
        AWAIT_TO(my->response,
                 coil_http_get(my->session, origin_url(my->origin, my->path)));
        AWAIT(coil_http_response_read(my->response));
        RETURN(atoi(strrchr(coil_http_response_body(my->response), '/') + 1));

    FINALLY;
        coil_http_response_free(my->response);
    }
}

struct crawl {
    STAGE;
    struct coil_semaphore limit;
    struct coil_task *tasks[REQUESTS], *done;
    int n, number;
    bool seen[REQUESTS];
};

static void crawl(struct coil_coro *co)
{
    ASYNC(crawl, my) {
        CHECK_INT(origin_open(&my->origin, NULL), 0);
        my->session = coil_http_session_new(NULL);
        coil_semaphore_init(&my->limit, AT_ONCE);
        for (int i = 0; i < REQUESTS; i++)
            my->tasks[i] = SPAWN(numbered, .session = my->session,
                                 .limit = &my->limit, .origin = &my->origin,
                                 .i = i);
        FOR_AWAIT(my->done, coil_as_completed(my->tasks, REQUESTS)) {
            AWAIT_TO(my->number, my->done);
            CHECK(!my->seen[my->number]);
            my->seen[my->number] = true;
            my->n++;
        }
        CHECK_INT(my->n, REQUESTS);
        CHECK_INT(my->origin.requests, REQUESTS);
        CHECK(my->origin.most_busy <= AT_ONCE);
        CHECK_INT(my->origin.accepted, AT_ONCE);

    FINALLY;
        AWAIT(coil_http_session_close(my->session));
        AWAIT(origin_close(&my->origin));
    }
}

TEST(programs_500_requests_at_most_100_at_once_as_completed)
{
    CHECK_INT(RUN(crawl), 0);
}

/* ---- Pool(100).imap_unordered (gevent), GreenPile (eventlet) ------------ */

struct piled {
    STAGE;
    struct coil_task *done;
    int made, n, number;
    bool ordered;
    bool seen[REQUESTS];
};

static struct coil_future *next_request(void *arg)
{
    struct piled *my = arg;
    if (my->made == REQUESTS)
        return NULL;
    return CALL(numbered, .session = my->session, .origin = &my->origin,
                .i = my->made++);
}

static void piled(struct coil_coro *co)
{
    ASYNC(piled, my) {
        CHECK_INT(origin_open(&my->origin, NULL), 0);
        my->session = coil_http_session_new(NULL);
        FOR_AWAIT(my->done,
                  my->ordered ? coil_map(AT_ONCE, next_request, my)
                              : coil_map_unordered(AT_ONCE, next_request, my)) {
            AWAIT_TO(my->number, my->done);
            if (my->ordered)
                CHECK_INT(my->number, my->n);
            CHECK(!my->seen[my->number]);
            my->seen[my->number] = true;
            my->n++;
        }
        CHECK_INT(my->n, REQUESTS);
        CHECK(my->origin.most_busy <= AT_ONCE);
        CHECK_INT(my->origin.accepted, AT_ONCE);

    FINALLY;
        AWAIT(coil_http_session_close(my->session));
        AWAIT(origin_close(&my->origin));
    }
}

TEST(programs_a_bounded_pool_of_500_requests)
{
    CHECK_INT(RUN(piled), 0);
}

TEST(programs_a_pile_of_500_requests_in_order)
{
    CHECK_INT(RUN(piled, .ordered = true), 0);
}

/* ---- AsyncHTTPClient(max_clients=100), a list yielded (Tornado) --------- */

struct listed {
    STAGE;
    struct coil_task *tasks[REQUESTS];
    int n, number;
};

static void listed(struct coil_coro *co)
{
    ASYNC(listed, my) {
        struct coil_http_session_options o = COIL_HTTP_SESSION_OPTIONS_INIT;
        o.limit = AT_ONCE;
        CHECK_INT(origin_open(&my->origin, NULL), 0);
        my->session = coil_http_session_new(&o);
        for (int i = 0; i < REQUESTS; i++)
            my->tasks[i] = SPAWN(numbered, .session = my->session,
                                 .origin = &my->origin, .i = i);
        AWAIT(coil_gather(my->tasks, REQUESTS));
        for (; my->i < REQUESTS; my->i++) {
            AWAIT_TO(my->number, my->tasks[my->i]);
            CHECK_INT(my->number, my->i);
            my->n++;
        }
        CHECK(my->origin.most_busy <= AT_ONCE);
        CHECK_INT(my->origin.most_open, AT_ONCE);
        CHECK_INT(my->origin.accepted, AT_ONCE);
        RETURN(my->n);

    FINALLY;
        AWAIT(coil_http_session_close(my->session));
        AWAIT(origin_close(&my->origin));
    }
}

// The session's own limit bounds them; the result comes out of RUN_TO.
TEST(programs_a_list_of_fetches_gives_results_in_argument_order)
{
    int n = 0;
    CHECK_INT(RUN_TO(n, listed), 0);
    CHECK_INT(n, REQUESTS);
}

/* ---- Deferreds with callbacks and errbacks, in a list (Twisted) --------- */

struct fetched {
    struct coil_http_response *response;
    char steps[64]; /* what was called, in order, and with what */
};

static void note(struct fetched *it, const char *step, int64_t value)
{
    size_t len = strlen(it->steps);
    snprintf(it->steps + len, sizeof it->steps - len, "%s %d, ", step,
             (int)value);
}

static struct coil_future *handle_response(struct coil_future *done, void *arg)
{
    struct fetched *it = arg;
    it->response = coil_future_pointer(done);
    note(it, "handle", coil_http_response_status(it->response));
    return coil_http_response_read(it->response); /* the chain pauses for it */
}

static struct coil_future *process_body(struct coil_future *done, void *arg)
{
    note(arg, "process", coil_future_int(done));
    return coil_future_from_int(10 * coil_future_int(done));
}

static struct coil_future *handle_error(struct coil_future *done, void *arg)
{
    note(arg, "error", coil_future_error(done) < 0);
    return coil_future_from_int(-1);
}

static struct coil_future *free_response(void *arg)
{
    struct fetched *it = arg;
    coil_http_response_free(it->response);
    it->response = NULL;
    return NULL;
}

struct chained {
    STAGE;
    struct fetched fetched[3];
    struct coil_task *tasks[3];
    int64_t results[3];
};

static const struct route chained_routes[] = {
    { "/broken", { { .act = CLOSE } } },
    { 0 },
};

static void chained(struct coil_coro *co)
{
    ASYNC(chained, my) {
        CHECK_INT(origin_open(&my->origin, chained_routes), 0);
        my->session = coil_http_session_new(NULL);
        for (int i = 0; i < 3; i++) {
            static const char *const paths[] = { "/delay/5/late", "/broken",
                                                 "/delay/1/early" };
            struct fetched *it = &my->fetched[i];
            struct coil_future *f = coil_http_get(
                my->session, origin_url(&my->origin, paths[i]));
            f = coil_then(f, handle_response, it);
            f = coil_then(f, process_body, it);
            f = coil_catch(f, handle_error, it);
            my->tasks[i] = coil_spawn(coil_finally(f, free_response, it));
        }
        AWAIT(coil_gather(my->tasks, 3));
        for (; my->i < 3; my->i++)
            AWAIT_TO(my->results[my->i], my->tasks[my->i]);
        CHECK_STR(my->fetched[0].steps, "handle 200, process 13, ");
        CHECK_STR(my->fetched[1].steps, "error 1, ");
        CHECK_STR(my->fetched[2].steps, "handle 200, process 14, ");
        CHECK_INT(my->results[0], 130);
        CHECK_INT(my->results[1], -1);
        CHECK_INT(my->results[2], 140);

    FINALLY;
        AWAIT(coil_http_session_close(my->session));
        AWAIT(origin_close(&my->origin));
    }
}

// Each handler is given what the one before returned; an error skips to the
// next error handler; the list is gathered in its order.
TEST(programs_a_list_of_chains_with_error_handlers)
{
    CHECK_INT(RUN(chained), 0);
}
