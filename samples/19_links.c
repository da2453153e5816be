// SPDX-License-Identifier: MIT
/*
 * A link checker. One TRY covers the whole request, so one variable holds the
 * error of any of its steps: connecting, the head, or the end of the body.
 *
 *     ./build/samples/19_links URL...
 *
 * Prints "200 OK  URL" for each, or "connect: Connection refused  URL", in the
 * order of arrival. Exits with 1 if any link is broken.
 */
#include <coil.h>
#include <coil/http.h>
#include <errno.h>
#include <stdio.h>

static int broken;

struct check {
    struct coil_coro coro;
    struct coil_http_session *session; /* lent by links(), which ends later */
    const char *url;
    struct coil_http_response *response;
    int err;
};

static void check(struct coil_coro *co)
{
    ASYNC(check, my) {
        TRY(my->err) WITHIN(COIL_SECONDS(10)) {
            AWAIT_TO(my->response, coil_http_get(my->session, my->url));
            AWAIT(coil_http_response_skip(my->response));
        }
        char why[128];
        if (my->err) {
            coil_explain(my->err, coil_last_detail(), why, sizeof why);
            printf("%s  %s\n", why, my->url);
        } else {
            printf("%d %s  %s\n", coil_http_response_status(my->response),
                   coil_http_response_reason(my->response), my->url);
        }
        broken += my->err || coil_http_response_status(my->response) >= 400;

    FINALLY;
        coil_http_response_free(my->response);
    }
}

struct links {
    struct coil_coro coro;
    char **urls;
    struct coil_http_session *session;
};

static void links(struct coil_coro *co)
{
    ASYNC(links, my) {
        my->session = coil_http_session_new(NULL);
        for (; *my->urls; my->urls++)
            if (START(check, .session = my->session, .url = *my->urls) < 0)
                FAIL(-ENOMEM);
        JOIN();

    FINALLY;
        AWAIT(coil_http_session_close(my->session));
    }
}

int main(int argc, char **argv)
{
    (void)argc;
    int err = RUN(links, .urls = argv + 1);
    if (err < 0)
        fprintf(stderr, "19_links: %s\n", coil_strerror(err));
    return err < 0 || broken > 0;
}
