// SPDX-License-Identifier: MIT
/*
 * Runs a sample, and so its loop, in a thread with a stack of 128 KiB, which is
 * what musl gives to threads. The main() of the sample is compiled under
 * another name.
 */
#include <pthread.h>
#include <stdio.h>

int program_main(int argc, char **argv);

static struct {
    int argc;
    char **argv;
    int status;
} program;

static void *run(void *arg)
{
    program.status = program_main(program.argc, program.argv);
    return arg;
}

int main(int argc, char **argv)
{
    program.argc = argc;
    program.argv = argv;
    pthread_t thread;
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes) != 0 ||
        pthread_attr_setstacksize(&attributes, 128 * 1024) != 0 ||
        pthread_create(&thread, &attributes, run, NULL) != 0) {
        fprintf(stderr, "no thread with a stack of 128 KiB\n");
        return 2;
    }
    pthread_join(thread, NULL);
    return program.status;
}
