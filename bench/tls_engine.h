// SPDX-License-Identifier: MIT
/*
 * tls_engine.h: the engine of coil's TLS that an argument names.
 *
 * "own" is coil's, "openssl" the one of coil-openssl, if that was built.
 */
#ifndef BENCH_TLS_ENGINE_H
#define BENCH_TLS_ENGINE_H

#include "bench.h"

#include <coil/tls.h>
#ifdef BENCH_OPENSSL
#include <coil/openssl.h>
#endif

static inline const struct coil_tls_engine *tls_engine(const char *name)
{
    if (strcmp(name, "own") == 0)
        return coil_tls_own_engine();
#ifdef BENCH_OPENSSL
    if (strcmp(name, "openssl") == 0)
        return coil_openssl_engine();
#endif
    die("%s: no such engine, or it was not built", name);
}

/* A client that trusts the authority of the file `ca`. */
static inline struct coil_tls_client *tls_client(const char *engine,
                                                 const char *ca)
{
    struct coil_tls_client_options o = COIL_TLS_CLIENT_OPTIONS_INIT;
    struct coil_tls_client *client;
    struct coil_tls_why why;
    o.engine = tls_engine(engine);
    o.ca.file = ca;
    if (coil_tls_client_new(&client, &o, &why) < 0)
        die("%s", why.text);
    return client;
}

#endif
