// SPDX-License-Identifier: MIT
/*
 * test.c: runs the cases of one test program.
 *
 *     test_heap                    every case, in order, as TAP
 *     test_heap --list             their names
 *     test_heap --run NAME...      only these
 *     test_heap --no-fork NAME     in this process, for gdb
 *
 * A case runs in a child, so that a crash, a hang or a leak is that case's and
 * nobody else's, and so that a kernel ring never crosses a fork. The child
 * itself compares what it holds at the end with what it held at the start:
 * only it can name the descriptors. The parent judges how the child ended.
 *
 * The heap is watched by the linker (--wrap=malloc and so on): calls made by
 * the library and the test arrive at __wrap_malloc below, calls made inside
 * libc do not. That works alike in a plain build, under the sanitizers and
 * under valgrind, and needs no hook in the library. Live blocks are kept in a
 * table, not only counted, because libc hands out blocks that we see freed
 * and never saw allocated (getline, realpath).
 *
 * Exit status: 0 all passed, 1 some failed, 2 wrong usage, 77 all skipped.
 */
#include "test.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <pthread.h>
#include <regex.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
    __has_feature(memory_sanitizer)
#define SANITIZED true
#endif
#endif
#ifndef SANITIZED
#define SANITIZED false
#endif

enum {
    TIMEOUT_SECONDS = 30,
    SLOW_FACTOR = 10,
    SLOW_STORMS = 20, // one of so many
    DENSE_ALLOCATIONS = 32, // when slow, none of so many is left out
    SKIPPED = 77,
    CALLERS_MAX = 8,
    DESCRIPTORS_MAX = 65536,
    LEAKS_SHOWN = 10,
};

static struct test_case *cases;

#ifdef __SANITIZE_THREAD__
/*
 * liburing maps rings by system calls of its own, which the sanitizer does not
 * see. A new ring at the address of one that another thread has closed looks
 * like a race of the two threads that set them up.
 */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "race:^uring_open$\n";
}
#endif

/* What a child tells its parent, readable however the child ended. */
struct report {
    int timeout_seconds;
    char note[256];
    void *failed_at[CALLERS_MAX];  // callers of the allocation made to fail
};

static struct report *report;
static const struct test_case *running;

void test_register(struct test_case *test)
{
    struct test_case **end = &cases;
    while (*end)
        end = &(*end)->next;
    *end = test;
}

/* --- Where in the source ---------------------------------------------------*/

/*
 * Who called, innermost first. `caller` is the wrapped function's return
 * address; what backtrace() finds below it is this file's own.
 */
static void capture(void *callers[CALLERS_MAX], void *caller, bool whole)
{
    void *stack[CALLERS_MAX + 4] = { 0 };
    int depth = whole ? backtrace(stack, CALLERS_MAX + 4) : 0;
    int first = 0;
    while (first < depth && stack[first] != caller)
        first++;

    memset(callers, 0, CALLERS_MAX * sizeof *callers);
    callers[0] = caller;
    for (int i = 1; i < CALLERS_MAX && first + i < depth; i++)
        callers[i] = stack[first + i];
}

/* Print callers as addr2line sees them: "grow at buffer.c:41". */
static void print_callers(void *const callers[CALLERS_MAX])
{
    char program[256], command[1024];
    ssize_t len = readlink("/proc/self/exe", program, sizeof program - 1);
    Dl_info self, info;
    if (len < 0 || !dladdr((void *)(uintptr_t)print_callers, &self))
        return;
    program[len] = '\0';

    int used = snprintf(command, sizeof command, "addr2line -fpse '%s'",
                        program);
    for (int i = 0; i < CALLERS_MAX && callers[i]; i++) {
        if (!dladdr(callers[i], &info) || info.dli_fbase != self.dli_fbase)
            break;
        // Less one: into the call itself, not to the line after it.
        size_t offset = (size_t)((char *)callers[i] - (char *)info.dli_fbase);
        used += snprintf(command + used, sizeof command - (size_t)used, " %#zx",
                         offset - 1);
    }
    fflush(NULL);
    FILE *lines = popen(command, "r");
    char line[256];
    while (lines && fgets(line, sizeof line, lines))
        fprintf(stderr, "#       %s", line);
    if (lines)
        pclose(lines);
}

/* --- The heap --------------------------------------------------------------*/

struct block {
    void *address;  // NULL: this place in the table is free
    size_t size;
    size_t serial;  // how many attempts there had been
    void *callers[CALLERS_MAX];
};

/*
 * Live blocks by address: open addressing, linear probing, at most half full.
 * The table is mapped and not allocated, so that LeakSanitizer does not take
 * it for a user of the blocks.
 */
static struct {
    pthread_mutex_t mutex;
    struct block *table;
    size_t capacity;
    size_t blocks, bytes;
    size_t attempts;
    size_t fail_from, fail_to;  // numbers of attempts, 0: none
    bool failed;
    bool forbidden;
    size_t forbidden_attempts;
    bool whole_stacks;
    bool ignored;
} heap = { .mutex = PTHREAD_MUTEX_INITIALIZER };

static size_t slot_of(const void *address)
{
    uint64_t hash = (uint64_t)(uintptr_t)address * 0x9E3779B97F4A7C15u;
    return (size_t)(hash >> 20) & (heap.capacity - 1);
}

static void put(const struct block *block)
{
    size_t i = slot_of(block->address);
    while (heap.table[i].address)
        i = (i + 1) & (heap.capacity - 1);
    heap.table[i] = *block;
    heap.blocks++;
    heap.bytes += block->size;
}

static void grow(void)
{
    struct block *old = heap.table;
    size_t capacity = heap.capacity;

    heap.capacity = capacity ? 2 * capacity : 4096;
    heap.table = mmap(NULL, heap.capacity * sizeof *heap.table,
                      PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                      0);
    if (heap.table == MAP_FAILED)
        abort();
    heap.blocks = heap.bytes = 0;
    for (size_t i = 0; i < capacity; i++) {
        if (old[i].address)
            put(&old[i]);
    }
    if (old)
        munmap(old, capacity * sizeof *old);
}

static void note_allocated(void *address, size_t size, void *caller)
{
    if (!address)
        return;
    pthread_mutex_lock(&heap.mutex);
    if (2 * (heap.blocks + 1) > heap.capacity)
        grow();
    struct block block = { .address = address,
                           .size = size,
                           .serial = heap.attempts };
    capture(block.callers, caller, heap.whole_stacks);
    put(&block);
    pthread_mutex_unlock(&heap.mutex);
}

/* Forget a block about to be freed. Zeroes come back if we never knew it. */
static struct block note_freed(void *address)
{
    struct block found = { 0 };
    pthread_mutex_lock(&heap.mutex);
    size_t mask = heap.capacity - 1;
    size_t i = heap.capacity ? slot_of(address) : 0;
    while (heap.capacity && heap.table[i].address &&
           heap.table[i].address != address)
        i = (i + 1) & mask;
    if (!heap.capacity || !heap.table[i].address) {
        pthread_mutex_unlock(&heap.mutex);
        return found;
    }
    found = heap.table[i];
    heap.blocks--;
    heap.bytes -= found.size;

    // Close the gap: move up whoever a search would now miss.
    for (size_t j = (i + 1) & mask; heap.table[j].address; j = (j + 1) & mask) {
        size_t home = slot_of(heap.table[j].address);
        if (((j - home) & mask) >= ((j - i) & mask)) {
            heap.table[i] = heap.table[j];
            i = j;
        }
    }
    heap.table[i] = (struct block){ 0 };
    pthread_mutex_unlock(&heap.mutex);
    return found;
}

/* Count an attempt, and decide whether it is one that shall fail. */
static bool attempt_fails(void *caller)
{
    pthread_mutex_lock(&heap.mutex);
    size_t n = ++heap.attempts;
    bool fails = heap.fail_from && n >= heap.fail_from && n <= heap.fail_to;
    if (fails && !heap.failed && report)
        capture(report->failed_at, caller, true);
    heap.failed |= fails;
    heap.forbidden_attempts += heap.forbidden;
    pthread_mutex_unlock(&heap.mutex);
    return fails;
}

/* The linker's names: __real_x is libc's x, and every call of x is __wrap_x. */
void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *old, size_t size);
void __real_free(void *address);
char *__real_strdup(const char *s);
char *__real_strndup(const char *s, size_t n);
int __real_posix_memalign(void **out, size_t alignment, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *old, size_t size);
void __wrap_free(void *address);
char *__wrap_strdup(const char *s);
char *__wrap_strndup(const char *s, size_t n);
int __wrap_posix_memalign(void **out, size_t alignment, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);

/* Out of memory as libc reports it. */
static bool refused(void *caller)
{
    if (!attempt_fails(caller))
        return false;
    errno = ENOMEM;
    return true;
}

void *__wrap_malloc(size_t size)
{
    void *caller = __builtin_return_address(0);
    if (refused(caller))
        return NULL;
    void *block = __real_malloc(size);
    note_allocated(block, size, caller);
    return block;
}

void *__wrap_calloc(size_t n, size_t size)
{
    void *caller = __builtin_return_address(0);
    if (refused(caller))
        return NULL;
    void *block = __real_calloc(n, size);
    note_allocated(block, n * size, caller);
    return block;
}

void *__wrap_realloc(void *old, size_t size)
{
    void *caller = __builtin_return_address(0);
    if (refused(caller))
        return NULL;

    // Forgotten before it is freed: another thread may be given its address.
    struct block was = note_freed(old);
    void *block = __real_realloc(old, size);
    if (block || size == 0)
        note_allocated(block, size, caller);
    else
        note_allocated(was.address, was.size, was.callers[0]);
    return block;
}

void __wrap_free(void *address)
{
    if (address)
        note_freed(address);
    __real_free(address);
}

char *__wrap_strdup(const char *s)
{
    void *caller = __builtin_return_address(0);
    if (refused(caller))
        return NULL;
    char *copy = __real_strdup(s);
    note_allocated(copy, strlen(s) + 1, caller);
    return copy;
}

char *__wrap_strndup(const char *s, size_t n)
{
    void *caller = __builtin_return_address(0);
    if (refused(caller))
        return NULL;
    char *copy = __real_strndup(s, n);
    note_allocated(copy, strnlen(s, n) + 1, caller);
    return copy;
}

int __wrap_posix_memalign(void **out, size_t alignment, size_t size)
{
    void *caller = __builtin_return_address(0);
    if (attempt_fails(caller))
        return ENOMEM;
    int err = __real_posix_memalign(out, alignment, size);
    if (err == 0)
        note_allocated(*out, size, caller);
    return err;
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    void *caller = __builtin_return_address(0);
    if (refused(caller))
        return NULL;
    void *block = __real_aligned_alloc(alignment, size);
    note_allocated(block, size, caller);
    return block;
}

/* One number of the heap's, read as another thread may be changing it. */
static size_t locked_read(const size_t *number)
{
    pthread_mutex_lock(&heap.mutex);
    size_t value = *number;
    pthread_mutex_unlock(&heap.mutex);
    return value;
}

size_t test_heap_blocks(void)
{
    return locked_read(&heap.blocks);
}

size_t test_heap_bytes(void)
{
    return locked_read(&heap.bytes);
}

size_t test_allocations(void)
{
    return locked_read(&heap.attempts);
}

void test_heap_ignore(void)
{
    heap.ignored = true;
}

static void fail_between(size_t from, size_t to)
{
    pthread_mutex_lock(&heap.mutex);
    heap.fail_from = from;
    heap.fail_to = to;
    pthread_mutex_unlock(&heap.mutex);
}

void test_fail_allocation(size_t n)
{
    size_t number = n ? test_allocations() + n : 0;
    fail_between(number, number);
}

void test_fail_allocations_from(size_t n)
{
    fail_between(n ? test_allocations() + n : 0, SIZE_MAX);
}

bool test_allocation_failed(void)
{
    pthread_mutex_lock(&heap.mutex);
    bool failed = heap.failed;
    heap.failed = false;
    pthread_mutex_unlock(&heap.mutex);
    return failed;
}

void test_forbid_allocations(bool forbid)
{
    pthread_mutex_lock(&heap.mutex);
    heap.forbidden = forbid;
    pthread_mutex_unlock(&heap.mutex);
}

size_t test_forbidden_allocations(void)
{
    return locked_read(&heap.forbidden_attempts);
}

/* --- What a case holds -----------------------------------------------------*/

struct holdings {
    size_t blocks, serial;
    int threads;
    bool descriptor[DESCRIPTORS_MAX];
};

static bool under_valgrind(void)
{
    const char *preloaded = getenv("LD_PRELOAD");
    return preloaded && strstr(preloaded, "/vgpreload_");
}

bool test_is_slow(void)
{
    return SANITIZED || under_valgrind();
}

/* Our threads. Those the kernel runs for a ring are listed too, as iou-*. */
static int count_threads(void)
{
    DIR *dir = opendir("/proc/self/task");
    int n = 0;
    for (struct dirent *e; dir && (e = readdir(dir));) {
        char path[64], name[16] = "";
        snprintf(path, sizeof path, "/proc/self/task/%.20s/comm", e->d_name);
        FILE *comm = e->d_name[0] == '.' ? NULL : fopen(path, "r");
        if (!comm)
            continue;
        if (fgets(name, sizeof name, comm) && strncmp(name, "iou-", 4) != 0)
            n++;
        fclose(comm);
    }
    if (dir)
        closedir(dir);
    return n;
}

static void list_descriptors(bool open[DESCRIPTORS_MAX])
{
    memset(open, 0, DESCRIPTORS_MAX * sizeof *open);
    DIR *dir = opendir("/proc/self/fd");
    for (struct dirent *e; dir && (e = readdir(dir));) {
        long fd = e->d_name[0] == '.' ? -1 : strtol(e->d_name, NULL, 10);
        if (fd >= 0 && fd < DESCRIPTORS_MAX && fd != dirfd(dir))
            open[fd] = true;
    }
    if (dir)
        closedir(dir);
}

static void take_stock(struct holdings *now)
{
    now->blocks = heap.blocks;
    now->serial = heap.attempts;
    now->threads = count_threads();
    list_descriptors(now->descriptor);
}

/* Print what the heap has gained or lost; true if nothing. */
static bool heap_is_as_before(const struct holdings *before)
{
    if (heap.ignored || heap.blocks == before->blocks)
        return true;
    fprintf(stderr, "#   %zu heap blocks at the start, %zu at the end\n",
            before->blocks, heap.blocks);
    int shown = 0;
    for (size_t i = 0; i < heap.capacity && shown < LEAKS_SHOWN; i++) {
        const struct block *b = &heap.table[i];
        if (!b->address || b->serial <= before->serial)
            continue;
        fprintf(stderr, "#     %zu bytes not freed, allocated in\n", b->size);
        print_callers(b->callers);
        shown++;
    }
    if (shown && !heap.whole_stacks)
        fprintf(stderr, "#     TEST_BACKTRACE=1 shows who called that\n");
    return false;
}

static bool descriptors_are_as_before(const struct holdings *before)
{
    static bool open[DESCRIPTORS_MAX];
    bool same = true;
    list_descriptors(open);
    for (int fd = 0; fd < DESCRIPTORS_MAX; fd++) {
        if (open[fd] == before->descriptor[fd])
            continue;
        char path[32], target[256] = "";
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        if (open[fd] && readlink(path, target, sizeof target - 1) >= 0)
            fprintf(stderr, "#   descriptor %d left open: %s\n", fd, target);
        else
            fprintf(stderr, "#   descriptor %d closed, it was not ours\n", fd);
        same = false;
    }
    return same;
}

static bool threads_are_as_before(const struct holdings *before)
{
    // ThreadSanitizer starts a thread of its own when it likes. A joined
    // thread is listed for a moment longer than pthread_join() takes.
    int now = 0;
    for (int i = 0; i < 200; i++) {
        now = count_threads();
        if (now <= before->threads || SANITIZED)
            return true;
        nanosleep(&(struct timespec){ .tv_nsec = 10 * 1000 * 1000 }, NULL);
    }
    fprintf(stderr, "#   %d threads at the start, %d at the end\n",
            before->threads, now);
    return false;
}

static bool no_child_is_left(void)
{
    if (waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD)
        return true;
    fprintf(stderr, "#   a child process was not waited for\n");
    return false;
}

static bool nothing_is_left(const struct holdings *before)
{
    // All are asked, so that all complaints are printed.
    bool threads = threads_are_as_before(before);
    bool blocks = heap_is_as_before(before);
    bool descriptors = descriptors_are_as_before(before);
    return threads & blocks & descriptors & no_child_is_left();
}

/* --- Checks ----------------------------------------------------------------*/

void test_fail(const char *file, int line, const char *format, ...)
{
    va_list args;
    fflush(stdout);
    fprintf(stderr, "# %s:%d: ", file, line);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\n");
    _exit(EXIT_FAILURE);
}

void test_skip(const char *file, int line, const char *why)
{
    test_note("%s (%s:%d)", why, file, line);
    fflush(stdout);
    _exit(SKIPPED);
}

void test_note(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(report->note, sizeof report->note, format, args);
    va_end(args);
}

void test_timeout(int seconds)
{
    report->timeout_seconds = seconds;
}

int test_seeds(int n)
{
    const char *given = getenv("TEST_SEEDS");
    if (given)
        return atoi(given);
    int few = n / SLOW_STORMS > 4 ? n / SLOW_STORMS : 4;
    return test_is_slow() && few < n ? few : n;
}

uint64_t test_seed(int i)
{
    const char *given = getenv("TEST_SEED");
    unsigned long long seed = given ? strtoull(given, NULL, 10) : 1;
    seed += (unsigned)i;
    test_note("TEST_SEED=%llu TEST_SEEDS=1 %s --run %s", seed,
              program_invocation_name, running->name);
    return seed;
}

/* " (-ECANCELED)" for a number that can be meant so, else nothing. */
static const char *errno_word(long long number, char word[32])
{
    bool possible = number < 0 && number >= -4095;
    const char *name = possible ? strerrorname_np((int)-number) : NULL;
    word[0] = '\0';
    if (name)
        snprintf(word, 32, " (-%s)", name);
    return word;
}

void test_check_int(const char *file, int line, const char *what,
                    long long actual, long long expected)
{
    char word[2][32];
    if (actual != expected)
        test_fail(file, line, "%s is %lld%s, expected %lld%s", what, actual,
                  errno_word(actual, word[0]), expected,
                  errno_word(expected, word[1]));
}

void test_check_str(const char *file, int line, const char *what,
                    const char *actual, const char *expected)
{
    if (actual == expected || (actual && expected && !strcmp(actual, expected)))
        return;
    test_fail(file, line, "%s is %s%s%s, expected %s%s%s", what,
              actual ? "\"" : "", actual ? actual : "NULL", actual ? "\"" : "",
              expected ? "\"" : "", expected ? expected : "NULL",
              expected ? "\"" : "");
}

void test_check_mem(const char *file, int line, const char *what,
                    const void *actual, const void *expected, size_t len)
{
    const unsigned char *a = actual, *e = expected;
    for (size_t i = 0; i < len; i++) {
        if (a[i] != e[i])
            test_fail(file, line,
                      "%s: byte %zu of %zu is %#04x, expected %#04x", what, i,
                      len, a[i], e[i]);
    }
}

int test_leaves_nothing(int (*scenario)(void))
{
    static struct holdings before;
    take_stock(&before);
    int err = scenario();
    fail_between(0, 0);
    if (!nothing_is_left(&before))
        test_fail(__FILE__, __LINE__, "the scenario left something behind");
    memset(report->failed_at, 0, sizeof report->failed_at);
    return err;
}

/* One run of the scenario; true if an allocation of it was made to fail. */
static bool survives(int (*scenario)(void), size_t n, bool later_ones_too)
{
    test_note("allocation %zu%s failed by the harness", n,
              later_ones_too ? " and all after it" : "");
    if (later_ones_too)
        test_fail_allocations_from(n);
    else
        test_fail_allocation(n);
    int err = test_leaves_nothing(scenario);

    char word[32];
    bool failed = test_allocation_failed();
    bool allowed = err == 0 || (failed && (err == -ENOMEM || err == -ENOBUFS));
    if (!allowed)
        test_fail(__FILE__, __LINE__, "the scenario returned %d%s", err,
                  errno_word(err, word));
    return failed;
}

/* Which allocation fails after the n-th: of the late ones few, if all is slow. */
static size_t next_to_fail(size_t n)
{
    bool few = test_is_slow() && !getenv("TEST_ALLOCATIONS");
    return n + 1 + (few ? n / DENSE_ALLOCATIONS : 0);
}

void test_every_allocation(int (*scenario)(void))
{
    for (size_t n = 1; survives(scenario, n, false); n = next_to_fail(n))
        continue;
    for (size_t n = 1; survives(scenario, n, true); n = next_to_fail(n))
        continue;
    test_note("%s", "");
}

/* --- Running ---------------------------------------------------------------*/

/* The case and the comparison after it. Its end is the process's end. */
__attribute__((noreturn)) static void run_here(const struct test_case *test)
{
    static struct holdings before;
    running = test;
    heap.whole_stacks = getenv("TEST_BACKTRACE") != NULL;
    take_stock(&before);
    test->run();
    fail_between(0, 0);

    // exit() and not _exit(): sanitizers and valgrind report on the way out.
    exit(nothing_is_left(&before) ? EXIT_SUCCESS : EXIT_FAILURE);
}

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double timeout_scale(void)
{
    const char *scale = getenv("TEST_TIMEOUT_SCALE");
    double factor = scale ? strtod(scale, NULL) : 1.0;
    return (test_is_slow() ? SLOW_FACTOR : 1) * (factor > 0 ? factor : 1.0);
}

/*
 * Wait for the child, at most as long as its limit. SIGCHLD is blocked, so
 * none is lost between asking and sleeping.
 */
static bool reap(pid_t child, int *status)
{
    double start = seconds_now();
    sigset_t sigchld;
    sigemptyset(&sigchld);
    sigaddset(&sigchld, SIGCHLD);

    while (waitpid(child, status, WNOHANG) == 0) {
        double limit = report->timeout_seconds * timeout_scale();
        if (seconds_now() - start > limit) {
            kill(-child, SIGKILL);
            waitpid(child, status, 0);
            return false;
        }
        // Not all of the time left: test_timeout() may have changed it.
        sigtimedwait(&sigchld, NULL,
                     &(struct timespec){ .tv_nsec = 100 * 1000 * 1000 });
    }
    kill(-child, SIGKILL);  // whatever it started and left running
    return true;
}

static bool contains(const char *text, const char *pattern)
{
    if (strstr(text, pattern))
        return true;
    regex_t regex;
    if (regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB | REG_NEWLINE) != 0)
        return false;
    bool found = regexec(&regex, text, 0, NULL, 0) == 0;
    regfree(&regex);
    return found;
}

/* Judge how a child ended. NULL: as it should. */
static const char *complaint(const struct test_case *test, int status,
                             const char *said)
{
    static char text[128];
    int signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    if (test->death) {
        if (signal == SIGABRT)
            return contains(said, test->death) ? NULL
                                               : "died without saying that";
        if (!signal && WEXITSTATUS(status) == 0)
            return "lived, but should have died";
    }
    if (signal) {
        snprintf(text, sizeof text, "killed by SIG%s", sigabbrev_np(signal));
        return text;
    }
    if (WEXITSTATUS(status) == 0)
        return NULL;
    snprintf(text, sizeof text, "ended with status %d", WEXITSTATUS(status));
    return text;
}

/* What a dying case wrote, shortened to fit. */
static void read_back(int fd, char *said, size_t size)
{
    ssize_t len = pread(fd, said, size - 1, 0);
    said[len > 0 ? len : 0] = '\0';
}

/* Run one case in a child and print its line; 0, 1 or SKIPPED. */
static int run_forked(const struct test_case *test, int number)
{
    static char said[65536];
    int said_fd = test->death ? memfd_create("stderr", MFD_CLOEXEC) : -1;
    *report = (struct report){ .timeout_seconds = TIMEOUT_SECONDS };
    said[0] = '\0';
    fflush(NULL);

    sigset_t sigchld, before;
    sigemptyset(&sigchld);
    sigaddset(&sigchld, SIGCHLD);
    sigprocmask(SIG_BLOCK, &sigchld, &before);
    pid_t child = fork();
    if (child < 0) {
        perror("fork");
        exit(EXIT_FAILURE);
    }
    if (child == 0) {
        // A group of its own, to be killed whole; dead as soon as we are.
        setpgid(0, 0);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        sigprocmask(SIG_SETMASK, &before, NULL);
        if (test->death) {
            setrlimit(RLIMIT_CORE, &(struct rlimit){ 0 });
            dup2(said_fd, STDERR_FILENO);
            close(said_fd);
        }
        run_here(test);
    }
    setpgid(child, child);
    int status = 0;
    bool in_time = reap(child, &status);
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (test->death) {
        read_back(said_fd, said, sizeof said);
        close(said_fd);
    }

    if (in_time && WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED) {
        printf("ok %d - %s # SKIP %s\n", number, test->name, report->note);
        return SKIPPED;
    }
    const char *why = in_time ? complaint(test, status, said) : "took too long";
    printf("%s %d - %s\n", why ? "not ok" : "ok", number, test->name);
    fflush(stdout);
    if (!why)
        return EXIT_SUCCESS;

    fprintf(stderr, "# %s (%s:%d): %s\n", test->name, test->file, test->line,
            why);
    if (test->death)
        fprintf(stderr, "# expected on stderr: %s\n# found there:\n%s\n",
                test->death, said);
    if (report->note[0])
        fprintf(stderr, "# last note: %s\n", report->note);
    if (report->failed_at[0])
        print_callers(report->failed_at);
    return EXIT_FAILURE;
}

static const struct test_case *find(const char *name)
{
    for (const struct test_case *test = cases; test; test = test->next) {
        if (strcmp(test->name, name) == 0)
            return test;
    }
    fprintf(stderr, "no case is called %s\n", name);
    exit(2);
}

static int run_all(void)
{
    int n = 0, failures = 0;
    for (const struct test_case *test = cases; test; test = test->next)
        n++;
    printf("TAP version 13\n1..%d\n", n);
    n = 0;
    for (const struct test_case *test = cases; test; test = test->next)
        failures += run_forked(test, ++n) == EXIT_FAILURE;
    return failures ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int run_named(char *const names[], int n)
{
    int failures = 0, skipped = 0;
    printf("TAP version 13\n1..%d\n", n);
    for (int i = 0; i < n; i++) {
        int outcome = run_forked(find(names[i]), i + 1);
        failures += outcome == EXIT_FAILURE;
        skipped += outcome == SKIPPED;
    }
    if (failures)
        return EXIT_FAILURE;
    return skipped == n ? SKIPPED : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    report = mmap(NULL, sizeof *report, PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (report == MAP_FAILED) {
        perror("mmap");
        return EXIT_FAILURE;
    }
    if (argc == 1)
        return run_all();
    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        for (const struct test_case *test = cases; test; test = test->next)
            puts(test->name);
        return EXIT_SUCCESS;
    }
    if (argc > 2 && strcmp(argv[1], "--run") == 0)
        return run_named(argv + 2, argc - 2);
    if (argc == 3 && strcmp(argv[1], "--no-fork") == 0)
        run_here(find(argv[2]));
    fprintf(stderr, "usage: %s [--list | --run NAME... | --no-fork NAME]\n",
            argv[0]);
    return 2;
}
