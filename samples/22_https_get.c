// SPDX-License-Identifier: MIT
/*
 * Fetch one page by https. A TLS client says whom to trust: here a private
 * authority, and without options.ca those of the system. It needs no loop, and
 * may be used by any number of sessions.
 *
 *     ./build/samples/22_https_get ca.pem https://127.0.0.1:8443/
 *
 * Prints "200 ok, 13 bytes" and the body; if the certificate is for another
 * host, "22_https_get: tls: The certificate is not trusted: 127.0.0.1:8443: the
 * certificate is for a.test, not 127.0.0.1".
 */
#include <coil.h>
#include <coil/http.h>
#include <coil/tls.h>
#include <stdio.h>

struct show {
    struct coil_coro coro;
    const char *url;
    struct coil_tls_client *tls;
    struct coil_http_session *session;
    struct coil_http_response *response;
};

static void show(struct coil_coro *co)
{
    ASYNC(show, my) {
        struct coil_http_session_options o = COIL_HTTP_SESSION_OPTIONS_INIT;
        o.tls = my->tls;
        my->session = coil_http_session_new(&o);
        AWAIT_TO(my->response, coil_http_get(my->session, my->url));
        AWAIT(coil_http_response_read(my->response));
        printf("%d %s, %zu bytes\n%s", coil_http_response_status(my->response),
               coil_http_response_reason(my->response),
               coil_http_response_size(my->response),
               coil_http_response_body(my->response));

    FINALLY;
        coil_http_response_free(my->response);
        AWAIT(coil_http_session_close(my->session));
    }
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: 22_https_get FILE-OF-AUTHORITIES URL\n");
        return 2;
    }
    struct coil_tls_client_options options = COIL_TLS_CLIENT_OPTIONS_INIT;
    options.ca.file = argv[1];
    struct coil_tls_client *tls;
    struct coil_tls_why why;
    int err = coil_tls_client_new(&tls, &options, &why);
    if (err < 0) {
        fprintf(stderr, "22_https_get: %s\n", why.text);
        return 2;
    }
    err = RUN(show, .url = argv[2], .tls = tls);
    coil_tls_client_unref(tls);
    if (err < 0) {
        char text[256];
        fprintf(stderr, "22_https_get: %s\n",
                coil_explain(err, coil_last_detail(), text, sizeof text));
    }
    return err < 0;
}
