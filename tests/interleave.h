// SPDX-License-Identifier: MIT
#ifndef INTERLEAVE_H
#define INTERLEAVE_H

/*
 * interleave.h: all that can happen to a small world, in every order.
 *
 * "Granted, then cancelled before it ran" is found by luck or by trying all.
 * A model is a primitive, two or three tasks, and the actions there are: start
 * the next task, cancel task i, release, put... Every sequence of them up to a
 * length is replayed in a loop, with "make one pass" (action 0, made
 * here) among them; then the model lets all end and checks what must hold.
 *
 *     static bool act(int action)             // 1, 2, 3...
 *     {
 *         if (action > world_started)
 *             return false;                   // makes no sense now
 *         coil_task_cancel(world_tasks[action - 1]);
 *         return true;
 *     }
 *
 *     TEST(thing_loses_nothing_in_any_interleaving)
 *     {
 *         CHECK(interleave(&(struct interleave){
 *             .actions = 4, .length = 7, .begin = begin, .act = act,
 *             .end = end }) > 1000);
 *     }
 *
 * An action that says false is left out, with all sequences that go on from
 * it; so is a pass when nothing is ready. What is checked here besides: after
 * end() no task is left, no timer, no report, and no block of memory (where
 * each is a malloc of its own: COIL_DEBUG, sanitizers).
 *
 * A case that fails says which sequence it was, so that it can be replayed
 * alone. The second line says how many there are:
 *
 *     INTERLEAVE=1,0,3 build/tests/test_lock --no-fork CASE
 *     INTERLEAVE_COUNT=1 build/tests/test_lock --no-fork CASE
 */
#include "stage.h"

#include <stdlib.h>

enum { INTERLEAVE_MOST = 16 };

struct interleave {
    int actions; /* the model's: 1 to `actions` */
    int length;  /* one less where all is slow */
    void (*begin)(void);
    bool (*act)(int action);
    void (*end)(void);
};

static inline void interleave_note(const int *sequence, int n)
{
    char text[INTERLEAVE_MOST * 4] = "";
    size_t len = 0;
    for (int i = 0; i < n; i++)
        len += (size_t)snprintf(text + len, sizeof text - len, "%s%d",
                                i ? "," : "", sequence[i]);
    test_note("INTERLEAVE=%s", text);
}

/* Whether the loop's blocks are seen one by one by the harness. */
static inline bool interleave_sees_blocks(void)
{
    size_t before = test_heap_blocks();
    void *a = coil_alloc(16), *b = coil_alloc(16);
    bool each = test_heap_blocks() - before == 2;
    coil_free(a, 16);
    coil_free(b, 16);
    return each;
}

/* How many of the actions could be made: `n` if all. */
static inline int interleave_replay(const struct interleave *model,
                                    const int *sequence, int n)
{
    if (!stage_loop)
        stage_open();
    stage_reported.n = 0;
    bool sees_blocks = interleave_sees_blocks();
    size_t blocks = test_heap_blocks();
    bool ready = false;
    int made = 0;
    model->begin();
    for (; made < n; made++) {
        if (sequence[made] == 0) {
            if (!ready)
                break;
            ready = coil_loop_pass(stage_loop, 0);
        } else {
            if (!model->act(sequence[made]))
                break;
            ready = true;
        }
    }
    model->end();
    CHECK_INT(stage_tasks(), 0);
    CHECK_INT(stage_timers(), 0);
    CHECK_INT(stage_reported.n, 0);
    if (sees_blocks)
        CHECK_INT(test_heap_blocks(), blocks);
    return made;
}

static inline int interleave_given(int *sequence)
{
    const char *text = getenv("INTERLEAVE");
    int n = 0;
    while (text && *text && n < INTERLEAVE_MOST) {
        char *end;
        sequence[n++] = (int)strtol(text, &end, 10);
        text = *end ? end + 1 : end;
    }
    return n;
}

/* Replays all; how many there were. */
static inline size_t interleave(const struct interleave *model)
{
    int sequence[INTERLEAVE_MOST] = { 0 };
    int length = model->length - (test_is_slow() ? 1 : 0);
    int n = interleave_given(sequence);
    size_t count = 0, replays = 0;
    if (n > 0) {
        interleave_replay(model, sequence, n);
        stage_close();
        return SIZE_MAX;
    }
    CHECK(length <= INTERLEAVE_MOST);
    for (n = 1;; replays++) {
        /* Rings cost locked memory, which the kernel gives back late. */
        if (replays % 1000 == 0 && stage_loop)
            stage_close();
        interleave_note(sequence, n);
        if (interleave_replay(model, sequence, n) == n) {
            count++;
            if (n < length) {
                sequence[n++] = 0;
                continue;
            }
        }
        while (n > 0 && sequence[n - 1] == model->actions)
            n--;
        if (n == 0)
            break;
        sequence[n - 1]++;
    }
    stage_close();
    test_note("%zu interleavings", count);
    if (getenv("INTERLEAVE_COUNT"))
        fprintf(stderr, "# %zu interleavings\n", count);
    return count;
}

#endif
