// SPDX-License-Identifier: MIT
/*
 * The program of a parent project in C++, which calls coil's functions. With
 * an argument, an assert fails.
 */
#include <cassert>
#include <coil.h>
#include <coil/http.h>
#include <coil/url.h>
#include <cstdio>

namespace {
    struct greeting {
        int argc;
        bool done;
    };

    void hello(void *arg)
    {
        greeting *my = static_cast<greeting *>(arg);
        assert(my->argc == 1);
        std::puts("hello");
        my->done = true;
    }
}

int main(int argc, char **)
{
    coil_url url;
    coil_loop *loop;
    if (coil_url_parse(&url, "http://here/", 12) < 0 ||
        coil_loop_new(&loop, nullptr) < 0)
        return 1;
    coil_handle handle = {};
    greeting my = { argc, false };
    if (coil_call_later(&handle, COIL_MS(1), hello, &my) < 0)
        return 1;
    while (!my.done)
        coil_loop_pass(loop, COIL_NEVER);
    coil_loop_close(loop);
    return 0;
}
