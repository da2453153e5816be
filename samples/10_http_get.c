// SPDX-License-Identifier: MIT
/*
 * Fetch one page. Status and headers come first, then the body, which is taken
 * here piece by piece, however large it is. Errors are explained.
 *
 *     ./build/samples/10_http_get http://127.0.0.1:8080/delay/5
 *
 * Prints "200 OK, text/plain" and the body; if no server listens there,
 * "10_http_get: connect: Connection refused".
 */
#include <coil.h>
#include <coil/http.h>
#include <errno.h>
#include <stdio.h>

struct show {
    struct coil_coro coro;
    const char *url;
    struct coil_http_session *session;
    struct coil_http_response *response;
    size_t n;
};

static void show(struct coil_coro *co)
{
    ASYNC(show, my) {
        my->session = coil_http_session_new(NULL); /* NULL: the get will tell */
        AWAIT_TO(my->response, coil_http_get(my->session, my->url));
        const char *type = coil_http_response_header(my->response,
                                                     "Content-Type");
        printf("%d %s, %s\n", coil_http_response_status(my->response),
               coil_http_response_reason(my->response),
               type ? type : "no type");

        do {
            AWAIT_TO(my->n, coil_http_response_next(my->response));
            if (fwrite(coil_http_response_piece(my->response), 1, my->n,
                       stdout) < my->n)
                FAIL(-EIO);
        } while (my->n > 0);

    FINALLY;
        coil_http_response_free(my->response);
        AWAIT(coil_http_session_close(my->session));
    }
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: 10_http_get URL\n");
        return 2;
    }
    int err = RUN(show, .url = argv[1]);
    if (err < 0) {
        char why[128];
        fprintf(stderr, "10_http_get: %s\n",
                coil_explain(err, coil_last_detail(), why, sizeof why));
    }
    return err < 0;
}
