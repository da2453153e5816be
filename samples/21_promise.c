// SPDX-License-Identifier: MIT
/*
 * A thread and the loop wait for each other. The thread looks for the first bad
 * version: it has the loop run a coroutine that tests one, and joins it. The
 * loop awaits a promise, which the thread sets to the version that it found.
 *
 *     ./build/samples/21_promise
 *
 * Prints "1 is good", "2 is good", "3 is bad" and "found 3".
 */
#include <coil.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>

static struct coil_remote *remote; /* the loop, for other threads */
static struct coil_promise *promise;
static pthread_t thread;
static bool started;

COROUTINE(test, long version;)
{
    ASYNC(test, my) {
        AWAIT(coil_sleep(COIL_MS(10))); /* the test takes its time */
        printf("%ld is %s\n", my->version, my->version < 3 ? "good" : "bad");
        RETURN(my->version < 3);
    }
}

static struct coil_future *make_test(void *version) /* in the loop */
{
    return CALL(test, .version = (long)version);
}

static struct coil_result is_good(long version) /* in the thread */
{
    struct coil_remote_job job = { .make = make_test, .arg = (void *)version };
    struct coil_remote_task *task = coil_remote_spawn(remote, &job);
    struct coil_result result = coil_result_error(task ? -ETIMEDOUT : -ENOMEM);
    if (task && coil_remote_task_join(task, COIL_SECONDS(10), &result) < 0)
        coil_remote_task_cancel(task); /* a time-out, and `result` says so */
    coil_remote_task_unref(task);
    return result;
}

static void *search(void *none) /* the thread, maybe one of a library */
{
    long version = 1;
    struct coil_result good = is_good(version);
    while (good.err == 0 && good.value.i)
        good = is_good(++version);
    coil_promise_set(promise, good.err ? good : coil_result_int(version));
    return none;
}

COROUTINE(find, long version;)
{
    ASYNC(find, my) {
        promise = coil_promise_new(NULL);
        if (!promise || !coil_remote_current())
            FAIL(-ENOMEM);
        remote = coil_remote_ref(coil_remote_current());
        started = pthread_create(&thread, NULL, search, NULL) == 0;
        if (!started)
            FAIL(-EAGAIN);
        AWAIT_TO(my->version, coil_promise_future(promise));
        printf("found %ld\n", my->version);
    }
}

int main(void)
{
    int err = RUN(find);
    if (started)
        pthread_join(thread, NULL); /* its calls fail if the loop has closed */
    coil_promise_unref(promise);
    coil_remote_unref(remote);
    return err < 0 ? fprintf(stderr, "%s\n", coil_strerror(err)), 1 : 0;
}
