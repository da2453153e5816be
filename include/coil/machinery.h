// SPDX-License-Identifier: MIT
#ifndef COIL_MACHINERY_H
#define COIL_MACHINERY_H

/*
 * machinery.h: what stands behind the words of coroutine.h and generator.h.
 *
 * Private. Programs neither include nor read this header: coroutine.h includes
 * it, and its names, which begin with COILI_ and coili_, may change at any
 * time.
 *
 * The body of a coroutine is one switch over line numbers (Duff's device).
 * Expansion of ASYNC(greet, my) { ... AWAIT(x); ... }, where the AWAIT stands
 * in line 7:
 *
 *     for (struct greet *my = co; my; my = coili_leave(co, &coil_site))
 *         coil_again: switch (co->line) case 0: {
 *             ...
 *             if (coili_await(co, x, 7)) { return; case 7:; }
 *             if (coili_failed(co)) goto coil_again;
 *             ...
 *         }
 *
 * An await that has to wait sets co->line to its own line and returns from the
 * function. The loop calls the function again, and the switch goes on behind
 * the `return`. An await that fails, RETURN and FAIL set co->line to the place
 * at which the coroutine goes on, and jump to the switch. A line that the
 * switch does not know falls to coili_leave(), which ends the coroutine, or
 * aborts with a message.
 *
 * Blocks have their machinery in block.h, generators in generator.h.
 */

#include <errno.h>
#include <string.h>

#include <coil/api.h>
#include <coil/future.h>
#include <coil/loop.h>

COIL_BEGIN_DECLS

struct coil_condition;
struct coil_coro;
struct coil_limiter;
struct coil_lock;
struct coil_semaphore;
struct coil_task;
struct coili_scope;

typedef void coil_step_fn(struct coil_coro *co);

/*
 * The head of every frame, 64 bytes. lib/core/coroutine.h says what the fields
 * mean.
 */
struct coil_coro {
    struct coil_future future;
    coil_step_fn *step;
    uintptr_t awaiting;
    uintptr_t next;
    struct coili_scope *scopes;
    int32_t line;
    uint32_t since;
};

/* Where a coroutine stands in the source, and what frees its result. */
struct coil_site {
    const char *file;
    const char *name;
    int line;
    void (*give)(void);
};

COIL_END_DECLS

#ifndef __cplusplus

_Static_assert(sizeof(struct coil_coro) == COILI_FRAME_HEAD,
               "the head of a frame has another size than COILI_ABI says");

/* ---- The body --------------------------------------------------------- */

#define COILI_LINE_FINALLY INT32_MAX

/*
 * The body of coroutine T. The `if` does nothing, since both ways lead to the
 * switch: its `goto` uses the label, which a body without an await does not,
 * and so spares that body a warning.
 */
#define COILI_ASYNC(T, my, free_fn) \
    _Static_assert(offsetof(struct T, coro) == 0, \
                   "struct " #T ": coro must come first: make struct " \
                   "coil_coro coro its first member"); \
    static const struct coil_site coil_site = { \
        __FILE__, #T, __LINE__, (void (*)(void))(free_fn) \
    }; \
    if (__builtin_constant_p(__builtin_strcmp(__func__, #T)) && \
        __builtin_strcmp(__func__, #T) != 0) \
        coili_function_of_another_name(); \
    for (struct T *my = (struct T *)(void *)co; my; \
         my = coili_leave(co, &coil_site)) \
        if (co->future.state) \
            goto coil_again; \
        else \
            coil_again: \
            switch (co->line) \
            case 0:

/*
 * ASYNC with one argument or two: they are counted, since in C11 `...` must not
 * be empty.
 */
#define COILI_FOURTH(a, b, c, d, ...) d
#define COILI_ASYNC_1(T) COILI_ASYNC(T, coili_my, NULL)
#define COILI_ASYNC_2(T, my) COILI_ASYNC(T, my, NULL)
#define COILI_ASYNC_3(T, my, free_fn) \
    _Static_assert(0, "ASYNC(f, my) takes no third word: what frees a result " \
                      "is for ASYNC_GIVES(f, my, free_fn)"); \
    COILI_ASYNC(T, my, free_fn)

/*
 * COROUTINE with fields or without. Fields may have any number of commas, so
 * arguments cannot be counted: COIL_COROUTINE appends COILI_NONE, and the
 * second argument is looked at. Pasted to COILI_IF_ it is COILI_IF_COILI_NONE
 * if there are no fields, a macro that begins with a comma and so moves
 * COILI_COROUTINE_PLAIN to the second place. The beginning of a field is no
 * such macro, and leaves COILI_COROUTINE_FIELDS there.
 */
#define COILI_SECOND(a, b, ...) b
#define COILI_SECOND_OF(...) COILI_SECOND(__VA_ARGS__)
#define COILI_COROUTINE(second) COILI_COROUTINE_IF(second)
#define COILI_COROUTINE_IF(second) \
    COILI_SECOND_OF(COILI_IF_##second, COILI_COROUTINE_FIELDS, )
#define COILI_IF_COILI_NONE , COILI_COROUTINE_PLAIN
#define COILI_COROUTINE_PLAIN(T) COILI_COROUTINE_FIELDS(T, )
#define COILI_COROUTINE_FIELDS(T, ...) \
    struct T { \
        struct coil_coro coro; \
        __VA_ARGS__ \
    }; \
    static void T(struct coil_coro *co)

/*
 * The place at which a coroutine goes on. The name of the label explains the
 * error of a second await on the line: "duplicate label
 * coil_one_await_per_line_12".
 */
#define COILI_RESUME_AT(line) COILI_RESUME_LABEL(line)
#define COILI_RESUME_LABEL(line) \
    case line: \
    coil_one_await_per_line_##line: __attribute__((unused))

/*
 * An await. `check` is a statement that stands in front of it. `suspends` is
 * true if the await has to wait; `failed` is true if the coroutine goes on at
 * another place, which co->line names.
 */
#define COILI_AWAITS(check, suspends, failed) \
    do { \
        check; \
        if (suspends) { \
            return; \
        COILI_RESUME_AT(__LINE__); \
        } \
        if (failed) \
            goto coil_again; \
    } while (0)

/*
 * The same, and the value goes into `lvalue`. There is none if an await in
 * FINALLY failed, or if TRY_AWAIT_TO has caught an error.
 */
#define COILI_AWAITS_TO(lvalue, check, suspends, failed) \
    do { \
        check; \
        if (suspends) { \
            return; \
        COILI_RESUME_AT(__LINE__); \
        } \
        if (failed) \
            goto coil_again; \
        if (coili_has_value(co)) \
            (lvalue) = COILI_TAKE(lvalue); \
    } while (0)

/* Begin to await a future or a task; true if the coroutine is suspended. */
#define COILI_SUSPEND(x) \
    _Generic((x), \
             struct coil_task *: coili_await_task, \
             struct coil_future *: coili_await, \
             default: coili_await_other)(co, (x), __LINE__)
#define COILI_WANT_AWAITABLE(x) \
    _Static_assert(_Generic((x), \
                            struct coil_task *: 1, \
                            struct coil_future *: 1, \
                            default: 0), \
                   COILI_WANTS_AWAITABLE)
#define COILI_WANTS_AWAITABLE \
    "AWAIT wants a struct coil_future * or a struct coil_task *: call a " \
    "coroutine with CALL(f, ...), or start one with SPAWN(f, ...)"

/* ---- Making a coroutine ----------------------------------------------- */

#define COILI_TEXT(number) COILI_TEXT_OF(number)
#define COILI_TEXT_OF(number) #number

/* The size of a frame; does not compile if it is too large or too aligned. */
#define COILI_FRAME_SIZE(T) \
    (sizeof(struct T) + \
     0 * sizeof(struct { \
         _Static_assert( \
             sizeof(struct T) <= COIL_FRAME_BYTES_MAX, \
             "struct " #T ": a frame is at most " COILI_TEXT( \
                 COIL_FRAME_BYTES_MAX) " bytes " \
                                       "(COIL_FRAME_BYTES_MAX): keep a large " \
                                       "buffer behind a " \
                                       "pointer, as from coil_alloc()"); \
         _Static_assert(_Alignof(struct T) <= 16, \
                        "struct " #T ": a frame is aligned to at most 16 " \
                        "bytes: keep what needs more behind a pointer, as " \
                        "from aligned_alloc()"); \
         char c; \
     }))

/*
 * The words end their arguments with `.coro.line = 0`: so the list of arguments
 * is never empty, which C11 does not allow.
 */
#define COILI_CALL(T, ...) \
    coili_call(coili_frame_new(T, COILI_BLOCK(T)), sizeof(struct T), \
               &(struct T){ __VA_ARGS__ })

/*
 * Make a task directly, without a future in between. Tasks that the arguments
 * spawn are made, and queued, before this one.
 */
#define COILI_SPAWN(T, ...) \
    coili_spawned(T, COILI_BLOCK(T), sizeof(struct T), \
                  &(struct T){ __VA_ARGS__ })
#define COILI_START(T, ...) \
    coili_started(T, COILI_BLOCK(T), sizeof(struct T), \
                  &(struct T){ __VA_ARGS__ })

/*
 * The size of a frame's block of memory, with 24 bytes in front for the head of
 * a task. Sizes are even: an odd one says that the frame is aligned to 16 bytes
 * and needs 8 bytes more.
 */
#define COILI_BLOCK(T) \
    (uint32_t)(COILI_FRAME_SIZE(T) + (_Alignof(struct T) > 8 ? 33 : 24))

/* *(struct T *[1]){ place } makes the compiler check the type of `place`. */
#define COILI_CALL_IN(place, T, ...) \
    coili_call_in(T, COILI_FRAME_SIZE(T), *(struct T *[1]){ (place) }, \
                  &(struct T){ __VA_ARGS__ })

/* ---- HOLD and WITH ---------------------------------------------------- */

/* The future that acquires `x`. */
#define COILI_HOLDING(x) \
    _Generic((x), \
             struct coil_semaphore *: coili_hold_semaphore, \
             struct coil_limiter *: coili_hold_limiter, \
             struct coil_condition *: coili_hold_condition, \
             struct coil_lock *: coili_hold_lock, \
             default: coili_hold_other)(co, (x))

/* What a HOLD of `x` records: of a condition, its lock. */
#define COILI_HELD(x) \
    _Generic((x), \
             struct coil_condition *: coili_lock_of_condition, \
             default: coili_held_itself)(x)

#define COILI_WANT_HOLDABLE(x) \
    _Static_assert(_Generic((x), \
                            struct coil_semaphore *: 1, \
                            struct coil_limiter *: 1, \
                            struct coil_condition *: 1, \
                            struct coil_lock *: 1, \
                            default: 0), \
                   COILI_WANTS_HOLDABLE)
#define COILI_WANTS_HOLDABLE \
    "WITH and HOLD want the address of a lock, condition, semaphore or " \
    "limiter; for anything else there is USING(object, release, acquire)"

#define COILI_HOLD(x) \
    COILI_AWAITS((void)0, coili_await(co, (x), __LINE__), coili_hold_failed(co))

/* ---- Values ----------------------------------------------------------- */

/*
 * 0 if the constant `cond` is true, else a compile error that says `what`.
 * Unlike a _Static_assert it can stand in an expression. The expression must
 * contain no CALL: clang takes a compound literal in a struct for one of file
 * scope.
 */
#define COILI_REQUIRE(cond, what) \
    (0 * (int)sizeof(struct { \
         _Static_assert((cond), what); \
         char c; \
     }))

/*
 * Put a value into the result of a coroutine. The ?: promotes `v`, since a
 * bit-field has a type of its own in gcc.
 */
#define COILI_PUT(to, v) \
    do { \
        _Static_assert(COILI_IS_VALUE(v), \
                       "a result or an item is one integer, double or " \
                       "pointer: of a struct give a pointer, or have the " \
                       "caller read it from the frame: CALL_IN(&my->child, " \
                       "f, ...)"); \
        _Generic(1 ? (v) : (v), \
                 float: coili_put_double, \
                 double: coili_put_double, \
                 unsigned: coili_put_uint, \
                 unsigned long: coili_put_uint, \
                 unsigned long long: coili_put_uint, \
                 int: coili_put_int, \
                 long: coili_put_int, \
                 long long: coili_put_int, \
                 default: coili_put_pointer)((to), (v)); \
    } while (0)

/* The types that gcc calls integer (1 to 4), pointer (5) and real (8). */
#define COILI_IS_VALUE(v) \
    _Generic(1 ? (v) : (v), \
             long double: 0, \
             default: 0x13e >> __builtin_classify_type(v) & 1)

/* What an lvalue can hold; coili_fits() in coroutine.c reads it. */
enum coili_kind {
    COILI_KIND_NONE,
    COILI_KIND_BOOL,
    COILI_KIND_CHAR,
    COILI_KIND_SCHAR,
    COILI_KIND_UCHAR,
    COILI_KIND_SHORT,
    COILI_KIND_USHORT,
    COILI_KIND_INT,
    COILI_KIND_UINT,
    COILI_KIND_LONG,
    COILI_KIND_ULONG,
    COILI_KIND_LLONG,
    COILI_KIND_ULLONG,
    COILI_KIND_FLOAT,
    COILI_KIND_DOUBLE,
    COILI_KIND_POINTER
};

/* The kind of an lvalue; does not compile if it can hold no result. */
#define COILI_KIND(lvalue) \
    ((enum coili_kind)( \
        COILI_KIND_OF(lvalue) + \
        COILI_REQUIRE(COILI_KIND_OF(lvalue) != COILI_KIND_POINTER || \
                          __builtin_classify_type(lvalue) == 5, \
                      "a result or an item goes into a variable that is an " \
                      "integer, a double or a pointer: take a struct by a " \
                      "pointer to it, or read it from the frame of " \
                      "CALL_IN(&my->child, f, ...)")))

#define COILI_KIND_OF(lvalue) \
    _Generic((lvalue), \
             _Bool: COILI_KIND_BOOL, \
             char: COILI_KIND_CHAR, \
             signed char: COILI_KIND_SCHAR, \
             unsigned char: COILI_KIND_UCHAR, \
             short: COILI_KIND_SHORT, \
             unsigned short: COILI_KIND_USHORT, \
             int: COILI_KIND_INT, \
             unsigned: COILI_KIND_UINT, \
             long: COILI_KIND_LONG, \
             unsigned long: COILI_KIND_ULONG, \
             long long: COILI_KIND_LLONG, \
             unsigned long long: COILI_KIND_ULLONG, \
             float: COILI_KIND_FLOAT, \
             double: COILI_KIND_DOUBLE, \
             default: COILI_KIND_POINTER)

/* The value in co->awaiting, in the type of the lvalue. */
#define COILI_TAKE(lvalue) \
    _Generic((lvalue), \
             _Bool: (_Bool)coili_take_int(co), \
             char: (char)coili_take_int(co), \
             signed char: (signed char)coili_take_int(co), \
             unsigned char: (unsigned char)coili_take_int(co), \
             short: (short)coili_take_int(co), \
             unsigned short: (unsigned short)coili_take_int(co), \
             int: (int)coili_take_int(co), \
             unsigned: (unsigned)coili_take_int(co), \
             long: (long)coili_take_int(co), \
             unsigned long: (unsigned long)coili_take_int(co), \
             long long: (long long)coili_take_int(co), \
             unsigned long long: (unsigned long long)coili_take_int(co), \
             float: (float)coili_take_double(co), \
             double: coili_take_double(co), \
             default: coili_take_pointer(co))

/* ---- Futures and flags ------------------------------------------------ */

/*
 * The state of a future, in the lowest three bits of `state`; 0 is pending. The
 * upper four bits are the outcome of a coroutine: the state that it is going to
 * have, from RETURN to the end of FINALLY.
 */
enum {
    COILI_INT = 1,
    COILI_UINT, /* above INT64_MAX */
    COILI_DOUBLE,
    COILI_POINTER,
    COILI_FAILED,
    COILI_PERMIT, /* the integer 0, which each await takes */
    COILI_STATE = 7
};

#define COILI_OUTCOME_SHIFT 4
#define COILI_QUIET 8u /* an error that is never fetched is not reported */

/* Flags of a coroutine: those that inlined functions need. */
#define COILI_KIND_CORO 1u
#define COILI_IN_PLACE 0x0040u
#define COILI_HANDLE 0x0080u
#define COILI_MUST_CANCEL 0x0100u
#define COILI_IN_FINALLY 0x0400u
#define COILI_FETCHED 0x0800u
#define COILI_GIVES 0x1000u

/* ---- Functions -------------------------------------------------------- */

COIL_API struct coil_coro *coili_frame_new(coil_step_fn *step, uint32_t block);
COIL_API struct coil_coro *coili_spawn_frame(coil_step_fn *step, uint32_t block,
                                             unsigned handle);
COIL_API struct coil_task *coili_nomem_task(void);
COIL_API void coili_run_begin(const struct coil_loop_options *options,
                              uint32_t abi);
COIL_API int coili_run_end(struct coil_future *main, enum coili_kind kind,
                           void *result);
COIL_API void coili_run_on_begin(struct coil_loop *loop, uint32_t abi);
COIL_API int coili_run_on_end(struct coil_future *main, enum coili_kind kind,
                              void *result);

/* These functions are not defined: a call of one is a compile error. */
void coili_function_of_another_name(void)
    __attribute__((error("ASYNC must name the function that it stands in: "
                         "another name has a frame of another layout")));

bool coili_await_other(struct coil_coro *co, ...)
    __attribute__((error(COILI_WANTS_AWAITABLE)));
struct coil_future *coili_hold_other(struct coil_coro *co, ...)
    __attribute__((error(COILI_WANTS_HOLDABLE)));

COIL_API void *coili_leave(struct coil_coro *co, const struct coil_site *site);
COIL_API void coili_body_over_slow(struct coil_coro *co);
COIL_API void coili_in_finally(struct coil_coro *co);
COIL_API _Noreturn void coili_put_misuse(struct coil_coro *co);
COIL_API void coili_return_awaited(struct coil_coro *co);
COIL_API void coili_fail(struct coil_coro *co, int err, uint32_t detail,
                         const char *file, int line);

COIL_API bool coili_await(struct coil_coro *co, struct coil_future *future,
                          int line);
COIL_API bool coili_await_task(struct coil_coro *co, struct coil_task *task,
                               int line);
COIL_API bool coili_failed_slow(struct coil_coro *co);
COIL_API bool coili_failed_keep_slow(struct coil_coro *co, enum coili_kind kind,
                                     const char *file, int line);
COIL_API bool coili_caught(struct coil_coro *co, int *err);
COIL_API bool coili_caught_keep(struct coil_coro *co, int *err,
                                enum coili_kind kind, const char *file,
                                int line);
COIL_API bool coili_join(struct coil_coro *co, int line);

COIL_API struct coil_future *coili_hold_semaphore(struct coil_coro *co,
                                                  struct coil_semaphore *sem);
COIL_API struct coil_future *coili_hold_lock(struct coil_coro *co,
                                             struct coil_lock *lock);
COIL_API struct coil_future *coili_hold_limiter(struct coil_coro *co,
                                                struct coil_limiter *limiter);
COIL_API struct coil_future *coili_hold_condition(struct coil_coro *co,
                                                  struct coil_condition *cond);
COIL_API bool coili_hold_failed(struct coil_coro *co);
COIL_API void *coili_lock_of_condition(struct coil_condition *cond);

static inline void *coili_held_itself(void *object)
{
    return object;
}

COIL_API void coili_gone(struct coil_future *future);

/* A count that never changes: the future is static, or has too many. */
#define COILI_REFS_MOST 0xffffffu

/*
 * Inlined is what happens at every await that ends well; the rest is a call.
 * When these functions run, co->awaiting is the future that is done.
 */
static inline void coili_let_go(struct coil_coro *co, struct coil_future *f)
{
    co->awaiting = 0;
    if (f->refs != COILI_REFS_MOST && --f->refs == 0)
        coili_gone(f);
}

static inline bool coili_failed(struct coil_coro *co)
{
    struct coil_future *f = (struct coil_future *)co->awaiting;
    unsigned state = f->state & COILI_STATE;
    if (state == 0 || state >= COILI_FAILED)
        return coili_failed_slow(co);
    coili_let_go(co, f);
    return false;
}

/* True if an lvalue of that kind can hold the integer. */
static inline bool coili_fits_int(enum coili_kind kind, int64_t v)
{
    switch (kind) {
    case COILI_KIND_BOOL:
        return v == 0 || v == 1;
    case COILI_KIND_CHAR:
        return v == (char)v;
    case COILI_KIND_SCHAR:
        return v == (signed char)v;
    case COILI_KIND_UCHAR:
        return v == (unsigned char)v;
    case COILI_KIND_SHORT:
        return v == (short)v;
    case COILI_KIND_USHORT:
        return v == (unsigned short)v;
    case COILI_KIND_INT:
        return v == (int)v;
    case COILI_KIND_UINT:
        return v == (unsigned)v;
    case COILI_KIND_LONG:
        return v == (long)v;
    case COILI_KIND_LLONG:
        return true;
    case COILI_KIND_ULONG:
        return v >= 0 && (sizeof(long) == 8 || v == (int64_t)(unsigned long)v);
    case COILI_KIND_ULLONG:
        return v >= 0;
    default:
        return false;
    }
}

/* False: the value fits, and stays in `awaiting` until COILI_TAKE(). */
static inline bool coili_failed_keep(struct coil_coro *co, enum coili_kind kind,
                                     const char *file, int line)
{
    struct coil_future *f = (struct coil_future *)co->awaiting;
    if ((f->state & COILI_STATE) == COILI_INT &&
        coili_fits_int(kind, f->result.i))
        return false;
    return coili_failed_keep_slow(co, kind, file, line);
}

static inline bool coili_has_value(const struct coil_coro *co)
{
    return co->awaiting != 0;
}

/*
 * Take the value of the future in `awaiting`. A future that is not done is a
 * generator: its value is an item, or was sent to it, and the generator stays.
 */
static inline uint64_t coili_take(struct coil_coro *co)
{
    struct coil_future *f = (struct coil_future *)co->awaiting;
    uint64_t word = f->result.u;
    if (f->state & COILI_STATE) {
        if (f->flags & COILI_GIVES) /* the first taker owns the pointer */
            f->flags = (uint16_t)(f->flags | COILI_FETCHED);
        coili_let_go(co, f);
    } else {
        f->state = 0;
        co->awaiting = 0;
    }
    return word;
}

static inline int64_t coili_take_int(struct coil_coro *co)
{
    return (int64_t)coili_take(co);
}

static inline double coili_take_double(struct coil_coro *co)
{
    double value;
    uint64_t word = coili_take(co);
    memcpy(&value, &word, sizeof value);
    return value;
}

static inline void *coili_take_pointer(struct coil_coro *co)
{
    return (void *)(uintptr_t)coili_take(co);
}

/*
 * CALL, SPAWN and START are always inlined: then the compiler writes the
 * arguments straight into the frame. A copy in a function would load them just
 * after they were stored, and stall.
 */
COIL_NODISCARD static inline __attribute__((always_inline)) struct coil_future *
coili_call(struct coil_coro *co, size_t size, const void *args)
{
    if (!co)
        return coil_future_from_nomem();
    memcpy((char *)co + sizeof *co, (const char *)args + sizeof *co,
           size - sizeof *co);
    return &co->future;
}

/* The number of bytes by which a task begins in front of its frame. */
#define COILI_TASK_HEAD 24

static inline __attribute__((always_inline)) struct coil_task *
coili_spawned(coil_step_fn *step, uint32_t block, size_t size, const void *args)
{
    struct coil_coro *co = coili_spawn_frame(step, block, COILI_HANDLE);
    if (!co)
        return coili_nomem_task();
    memcpy((char *)co + sizeof *co, (const char *)args + sizeof *co,
           size - sizeof *co);
    return (struct coil_task *)(void *)((char *)co - COILI_TASK_HEAD);
}

static inline __attribute__((always_inline)) int
coili_started(coil_step_fn *step, uint32_t block, size_t size, const void *args)
{
    struct coil_coro *co = coili_spawn_frame(step, block, 0);
    if (!co)
        return -ENOMEM;
    memcpy((char *)co + sizeof *co, (const char *)args + sizeof *co,
           size - sizeof *co);
    return 0;
}

static inline __attribute__((always_inline)) struct coil_future *
coili_call_in(coil_step_fn *step, size_t size, void *place, const void *args)
{
    memcpy((char *)place + sizeof(struct coil_coro),
           (const char *)args + sizeof(struct coil_coro),
           size - sizeof(struct coil_coro));
    struct coil_coro *co = (struct coil_coro *)place;
    /* Field by field: loads of a field would stall behind a wide memset. */
    co->future = (struct coil_future){
        .refs = 1, .flags = COILI_KIND_CORO | COILI_IN_PLACE
    };
    co->step = step;
    co->awaiting = 0;
    co->next = 0;
    co->scopes = NULL;
    co->line = 0;
    co->since = 0;
    return &co->future;
}

/* Set the value of RETURN or YIELD. */
static inline void coili_outcome(struct coil_coro *co, unsigned state,
                                 uint64_t word)
{
    if (co->future.flags & COILI_IN_FINALLY)
        coili_put_misuse(co);
    co->future.state = (uint8_t)(state << COILI_OUTCOME_SHIFT |
                                 (co->future.state & COILI_QUIET));
    co->future.result.u = word;
}

static inline void coili_put_int(struct coil_coro *co, int64_t value)
{
    coili_outcome(co, COILI_INT, (uint64_t)value);
}

static inline void coili_put_uint(struct coil_coro *co, uint64_t value)
{
    coili_outcome(co, value > INT64_MAX ? COILI_UINT : COILI_INT, value);
}

static inline void coili_put_double(struct coil_coro *co, double value)
{
    uint64_t word;
    memcpy(&word, &value, sizeof word);
    coili_outcome(co, COILI_DOUBLE, word);
}

static inline void coili_put_pointer(struct coil_coro *co, const void *value)
{
    coili_outcome(co, COILI_POINTER, (uintptr_t)value);
}

/*
 * The body ends, by RETURN or at its closing brace. In most cases no block,
 * task or hold belongs to the coroutine, and FINALLY comes next.
 */
static inline void coili_body_over(struct coil_coro *co)
{
    if (co->scopes || co->future.flags & COILI_MUST_CANCEL ||
        !(co->future.state >> COILI_OUTCOME_SHIFT))
        coili_body_over_slow(co);
    else
        co->line = COILI_LINE_FINALLY;
}

#endif /* !__cplusplus */

#endif
