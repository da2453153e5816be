// SPDX-License-Identifier: MIT
/*
 * The headers in C++. Many a program includes C headers inside extern "C", also
 * those that say so themselves.
 */
#ifdef INSIDE
extern "C" {
#include <coil.h>
#include <coil/http.h>
}
#else
#include <coil.h>
#include <coil/http.h>
#endif

static const coil_loop_options of_file = COIL_LOOP_OPTIONS_INIT;

namespace program {
    struct client {
        coil_connect_options connect = COIL_CONNECT_OPTIONS_INIT;
        coil_http_session_options session = COIL_HTTP_SESSION_OPTIONS_INIT;
    };
}

int main()
{
    coil_executor_options executor = COIL_EXECUTOR_OPTIONS_INIT;
    coil_process_pool_options pool = COIL_PROCESS_POOL_OPTIONS_INIT;
    program::client client;
    pool = COIL_PROCESS_POOL_OPTIONS_INIT;
    return of_file.size == sizeof of_file && !of_file.debug &&
                   executor.size == sizeof executor &&
                   pool.size == sizeof pool &&
                   client.connect.size == sizeof client.connect &&
                   client.session.size == sizeof client.session
               ? 0
               : 1;
}
