// SPDX-License-Identifier: MIT
/*
 * The program of a parent project in C. With an argument, an assert fails.
 */
#include <assert.h>
#include <coil.h>
#include <coil/http.h>
#include <coil/url.h>
#include <stdio.h>

COROUTINE(hello, int argc;)
{
    ASYNC(hello, my) {
        AWAIT(coil_sleep(COIL_MS(1)));
        assert(my->argc == 1);
        printf("hello\n");
    }
}

int main(int argc, char **argv)
{
    struct coil_url url;
    return coil_url_parse(&url, "http://here/", 12) < 0 || !argv[0] ||
           RUN(hello, .argc = argc) < 0;
}
