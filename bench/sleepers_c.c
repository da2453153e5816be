// SPDX-License-Identifier: MIT
/*
 * sleepers_c.c: the limit for memory, a million sleeping tasks in plain C.
 *
 *     sleepers_c [--malloc] [--tasks N] [--seconds S]
 *
 * A frame holds what any task needs: where to go on, who waits, a result, an
 * argument. Frames lie in one slab (--malloc: one malloc each) and deadlines
 * in a 4-ary heap that keeps the time beside the pointer. Nothing can be
 * cancelled, joined, or listed; that is what the library's bytes buy.
 */
#include "sleepers.h"

#include <stdbool.h>

struct sleeper {
    void (*step)(struct sleeper *);
    struct sleeper *waiter;
    long *ended;
    long result;
    int state;
    bool done;
};

struct timer {
    int64_t due;
    struct sleeper *sleeper;
};

static struct timer *heap;
static size_t heap_length, heap_room;

static void heap_push(struct timer t)
{
    if (heap_length == heap_room) {
        heap_room = heap_room ? 2 * heap_room : 64;
        heap = realloc(heap, heap_room * sizeof *heap);
        if (!heap)
            die("out of memory");
    }
    size_t i = heap_length++;
    while (i > 0 && heap[(i - 1) / 4].due > t.due) {
        heap[i] = heap[(i - 1) / 4];
        i = (i - 1) / 4;
    }
    heap[i] = t;
}

static struct timer heap_pop(void)
{
    struct timer top = heap[0], last = heap[--heap_length];
    size_t i = 0;
    for (;;) {
        size_t least = 4 * i + 1, end = least + 4;
        if (least >= heap_length)
            break;
        if (end > heap_length)
            end = heap_length;
        for (size_t c = least + 1; c < end; c++)
            if (heap[c].due < heap[least].due)
                least = c;
        if (heap[least].due >= last.due)
            break;
        heap[i] = heap[least];
        i = least;
    }
    heap[i] = last;
    return top;
}

static int64_t wake_at;

OPAQUE static void sleeper_step(struct sleeper *my)
{
    if (my->state == 0) {
        my->state = 1;
        heap_push((struct timer){ wake_at, my });
        return;
    }
    ++*my->ended;
    my->done = true;
}

int main(int argc, char **argv)
{
    bool slab = !(argc > 1 && strcmp(argv[1], "--malloc") == 0);
    struct sleepers run = sleepers_begin(argc - !slab, argv + !slab);
    struct sleeper *frames = NULL;
    long ended = 0;

    if (slab && !(frames = malloc((size_t)run.tasks * sizeof *frames)))
        die("out of memory");
    for (long i = 0; i < run.tasks; i++) {
        struct sleeper *s = slab ? &frames[i] : malloc(sizeof *s);
        if (!s)
            die("out of memory");
        *s = (struct sleeper){ .step = sleeper_step, .ended = &ended };
        wake_at = sleepers_due(&run, i);
        s->step(s);
    }
    sleepers_all_asleep(&run);

    while (heap_length > 0) {
        sleep_until_ns(heap[0].due);
        int64_t now = now_ns();
        while (heap_length > 0 && heap[0].due <= now) {
            struct sleeper *s = heap_pop().sleeper;
            s->step(s);
            if (!slab)
                free(s);
        }
    }
    sleepers_end(&run, slab ? "c_slab" : "c_malloc", ended);
    return 0;
}
