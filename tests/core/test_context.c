// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_context.c: who sees which binding.
 */
#include "stage.h"

#include <coil/context.h>
#include <coil/coroutine.h>

static const struct coil_context_var user = { "user", "nobody" };
static const struct coil_context_var request = { "request", NULL };

#define SET(var, value) CHECK_INT(coil_context_set(&(var), (value)), 0)
#define GET(var) ((const char *)coil_context_get(&(var)))

static size_t memory(void)
{
    struct coil_loop_stats stats;
    coil_loop_get_stats(stage_loop, &stats);
    return stats.memory_bytes;
}

/* What it sees; then it binds something itself, and looks again. */
struct look {
    struct coil_coro coro;
    char *bind;
    int passes;
};

static void look(struct coil_coro *co)
{
    COIL_ASYNC(look, my) {
        trace("%s", GET(user));
        if (my->bind) {
            SET(user, my->bind);
            COIL_AWAIT(coil_sleep(0));
            trace("%s", GET(user));
        }
        while (my->passes-- > 0)
            COIL_AWAIT(coil_sleep(0));
        if (my->passes == -1 && !my->bind)
            COIL_RETURN(0);
        trace("%s", GET(user));
    }
}

struct parent {
    struct coil_coro coro;
    struct coil_task *a, *b;
};

static void parent(struct coil_coro *co)
{
    COIL_ASYNC(parent, my) {
        trace("%s", GET(user));
        SET(user, "ann");
        my->a = COIL_SPAWN(look, .bind = "bob");
        SET(user, "cid"); // after the spawn: not for it
        my->b = COIL_SPAWN(look);
        COIL_AWAIT(my->a);
        COIL_AWAIT(my->b);
        trace("%s", GET(user)); // not what a child has bound
    }
}

TEST(context_is_inherited_as_it_was_at_the_spawn)
{
    stage_open();
    CHECK_INT(stage_run(COIL_SPAWN(parent)), 0);
    CHECK_TRACE("nobody ann cid bob bob cid");
    stage_close();
}

struct caller {
    struct coil_coro coro;
    const char *item;
};

struct generator {
    struct coil_coro coro;
};

static void generator(struct coil_coro *co)
{
    COIL_ASYNC(generator, my) {
        (void)my;
        COIL_YIELD(GET(user));
        SET(user, "generator");
        COIL_YIELD(GET(user));
    }
}

static void caller(struct coil_coro *co)
{
    COIL_ASYNC(caller, my) {
        SET(user, "caller");
        COIL_AWAIT(COIL_CALL(look, .bind = "called"));
        trace("%s", GET(user));
        COIL_FOR_AWAIT(my->item, COIL_CALL(generator))
        {
            trace("%s", my->item);
        }
        trace("%s", GET(user));
    }
}

TEST(context_is_shared_with_called_coroutines_and_generators)
{
    stage_open();
    CHECK_INT(stage_run(COIL_SPAWN(caller)), 0);
    CHECK_TRACE("caller called called called called generator generator");
    stage_close();
}

struct reset {
    struct coil_coro coro;
    void *before;
};

static void reset(struct coil_coro *co)
{
    COIL_ASYNC(reset, my) {
        my->before = coil_context_get(&user);
        SET(user, "me");
        trace("%s", GET(user));
        SET(user, my->before);
        trace("%s", GET(user));
    }
}

TEST(context_is_reset_by_setting_the_former_value)
{
    stage_open();
    CHECK_INT(stage_run(COIL_SPAWN(reset)), 0);
    CHECK_TRACE("me nobody");
    stage_close();
}

struct ways {
    struct coil_coro coro;
    struct look place;
    struct coil_task *task;
};

static void ways(struct coil_coro *co)
{
    COIL_ASYNC(ways, my) {
        SET(user, "a");
        CHECK_INT(COIL_START(look), 0);
        SET(user, "b");
        my->task = coil_spawn(COIL_CALL(look));
        SET(user, "c");
        my->task = coil_spawn(COIL_CALL_IN(&my->place, look));
        COIL_JOIN();
        SET(user, "d");
        coil_detach(COIL_SPAWN(look, .bind = "e", .passes = 3));
    }
}

TEST(context_is_inherited_by_every_kind_of_task)
{
    stage_open();
    CHECK_INT(stage_run(COIL_SPAWN(ways)), 0);
    CHECK_TRACE("a b c");
    stage_passes(10); // its spawner has gone
    CHECK_TRACE("d e e");
    stage_close();
}

static void call(void *arg)
{
    (void)arg;
    trace("%s", GET(user));
    COIL_START(look);
}

struct calls {
    struct coil_coro coro;
    struct coil_handle handle;
};

static void calls(struct coil_coro *co)
{
    COIL_ASYNC(calls, my) {
        SET(user, "task");
        coil_call_soon(&my->handle, call, NULL);
        COIL_AWAIT(coil_sleep(0));
        COIL_AWAIT(coil_sleep(0));
        COIL_AWAIT(coil_sleep(0));
    }
}

TEST(context_of_a_plain_call_is_empty)
{
    stage_open();
    CHECK_INT(stage_run(COIL_SPAWN(calls)), 0);
    CHECK_TRACE("nobody nobody");
    CHECK_STR(GET(user), "nobody");
    stage_close();
    CHECK_STR(GET(user), "nobody");
}

static void set_in_call(void *arg)
{
    (void)arg;
    (void)!coil_context_set(&user, NULL);
}

DEATH_TEST(context_set_outside_a_task_aborts, "set outside a task")
{
    static struct coil_handle handle;
    stage_open();
    coil_call_soon(&handle, set_in_call, NULL);
    stage_passes(1);
}

/* Many variables, inherited down a chain; each level binds one anew. */
enum { VARS = 8 };
static struct coil_context_var vars[VARS];

struct level {
    struct coil_coro coro;
    int n, i;
};

static void level(struct coil_coro *co)
{
    COIL_ASYNC(level, my) {
        if (my->n == 0)
            COIL_RETURN(0);
        if (my->n == VARS)
            for (my->i = 0; my->i < VARS; my->i++)
                SET(vars[my->i], &vars[my->i]);
        SET(vars[my->n - 1], NULL);
        COIL_AWAIT(COIL_SPAWN(level, .n = my->n - 1));
        for (my->i = 0; my->i < VARS; my->i++)
            CHECK(coil_context_get(&vars[my->i]) ==
                  (my->i >= my->n - 1 ? NULL : (void *)&vars[my->i]));
    }
}

TEST(context_is_copied_when_it_is_changed_below)
{
    stage_open();
    CHECK_INT(stage_run(COIL_SPAWN(level, .n = VARS)), 0);
    stage_close();
}

struct many {
    struct coil_coro coro;
    int i;
};

static void many(struct coil_coro *co)
{
    COIL_ASYNC(many, my) {
        for (; my->i < 10000; my->i++) {
            SET(user, "x");
            SET(request, "y");
            CHECK_INT(COIL_START(look, .bind = "z"), 0);
            COIL_JOIN();
            stage_trace[0] = '\0';
        }
    }
}

TEST(context_gives_its_memory_back)
{
    stage_open();
    struct coil_task *t = COIL_SPAWN(many, .i = 9900);
    CHECK_INT(stage_run(t), 0);
    coil_task_drop(&t);
    size_t before = memory();
    t = COIL_SPAWN(many);
    CHECK_INT(stage_run(t), 0);
    coil_task_drop(&t);
    CHECK_INT(memory(), before);
    stage_close();
}

struct plain {
    struct coil_coro coro;
};

static void plain(struct coil_coro *co)
{
    COIL_ASYNC(plain, my) {
        (void)my;
        COIL_AWAIT(coil_sleep(0));
    }
}

// Two frames of which one's task has bindings: only its spawns are larger.
TEST(context_costs_nothing_where_there_is_none)
{
    stage_open();
    struct coil_task *other = COIL_SPAWN(ways);
    stage_passes(2);
    test_forbid_allocations(true);
    struct coil_task *t = COIL_SPAWN(plain);
    stage_passes(3);
    test_forbid_allocations(false);
    CHECK(coil_task_done(t));
    CHECK_INT(stage_run(other), 0);
    stage_trace[0] = '\0';
    stage_close();
}

struct poor {
    struct coil_coro coro;
    struct coil_task *task;
    int err;
};

static void poor(struct coil_coro *co)
{
    COIL_ASYNC(poor, my) {
        my->err = coil_context_set(&user, "a");
        if (my->err == 0)
            my->err = coil_context_set(&request, "b");
        if (my->err < 0)
            COIL_FAIL(my->err);
        CHECK_STR(GET(user), "a");
        my->task = COIL_SPAWN(plain);
        my->err = coil_context_set(&user, "c");
        CHECK_STR(GET(user), my->err < 0 ? "a" : "c");
        CHECK_STR(GET(request), "b");
        COIL_AWAIT(my->task);
        if (my->err < 0)
            COIL_FAIL(my->err);
        COIL_AWAIT(coil_spawn(COIL_CALL(plain)));
        COIL_AWAIT(coil_spawn(coil_sleep(1)));
    }
}

static int scenario(void)
{
    int err = coil_loop_new(&stage_loop, stage_options());
    if (err < 0)
        return err;
    struct coil_task *t = COIL_SPAWN(poor);
    coil_loop_run_until_complete(stage_loop, t);
    err = coil_future_error(coil_task_future(t));
    stage_close();
    return err;
}

TEST(context_survives_every_failed_allocation)
{
    test_every_allocation(scenario);
}
