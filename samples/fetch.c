// SPDX-License-Identifier: MIT
/*
 * fetch: get many URLs, many at once.
 *
 *     ./build/samples/fetch [-c LIMIT] [-t SECONDS] [-o FOLDER] [-f FILE]
 *                           [URL... | -]
 *
 *     -c  at most so many at once; 100
 *     -t  at most so long for each; 300
 *     -o  save the bodies there, as NUMBER_URL
 *     -f  a file with a URL in each line; - among the URLs: standard input
 *
 * Prints a row for each URL when it has ended: status, bytes, seconds, URL and
 * why it failed; then the sum, and the time it took. On a terminal the last
 * line tells how far it is. Any status but 2xx has failed: redirects are not
 * followed. The list is read as it is needed and nothing is kept, so it may be
 * endless. Ctrl-C stops everything and cleans up; twice, at once.
 *
 * Exits with 0, 1 if any has failed, 2 for wrong usage, 130 after Ctrl-C.
 */
#define _POSIX_C_SOURCE 200809L

#include <coil.h>
#include <coil/http.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static struct {
    double limit, seconds;
    int folder; /* -1: bodies are thrown away */
    bool live;  /* a progress line */
} options = { .limit = 100, .seconds = 300, .folder = -1 };

/* Between two awaits no other task runs: plain numbers need no lock. */
static struct {
    int64_t began, busy_ns, bytes;
    long begun, done, failed, in_flight;
} now;

/* ---- What is printed --------------------------------------------------- */

static double seconds(int64_t ns)
{
    return (double)ns / 1e9;
}

/* The last line of a terminal: gone, or as things stand. */
static void draw(bool there)
{
    double mb = (double)now.bytes / 1e6;
    if (options.live)
        fputs("\r\033[K", stderr);
    if (options.live && there)
        fprintf(stderr,
                "%ld done, %ld failed, %ld in flight, %.1f MB, %.1f MB/s",
                now.done, now.failed, now.in_flight, mb,
                mb / seconds(coil_now() - now.began));
}

/* A URL has ended; `why` is NULL if it went well. */
static void row(int status, int64_t bytes, int64_t ns, char *url,
                const char *why)
{
    *(why ? &now.failed : &now.done) += 1;
    now.busy_ns += ns;
    for (char *c = url; *c; c++)
        if (iscntrl((unsigned char)*c)) /* it would steer the terminal */
            *c = '?';
    draw(false);
    printf("%6d %12lld %8.3f  %s%s%s\n", status, (long long)bytes, seconds(ns),
           url, why ? ": " : "", why ? why : "");
    draw(true);
}

static void closing_rows(void)
{
    double sum = seconds(now.busy_ns), wall = seconds(coil_now() - now.began);
    printf("%6ld %12lld %8.3f  done: the sum\n", now.done, (long long)now.bytes,
           sum);
    if (now.failed > 0)
        printf("%6ld %21s  failed\n", now.failed, "");
    printf("%28.3f  the wall time: %.1f times faster than one by one\n", wall,
           sum / wall);
}

/* ---- One URL ----------------------------------------------------------- */

/* Read a body, into a file if it is worth one. */
struct save {
    struct coil_coro coro;
    struct coil_http_response *response;
    const char *url;
    long number;
    bool keep;     /* until the file is whole */
    int64_t bytes; /* read so far */
    size_t n, sent, written;
    int fd;
    bool closed;
    char file[128];
};

/*
 * The file is named after the URL, with '_' for all but letters, digits, '-'
 * and '.': there is no way out of the folder. The number makes it unique.
 */
static int open_file(struct save *my)
{
    snprintf(my->file, sizeof my->file, "%06ld_%s", my->number,
             strstr(my->url, "://") + 3); /* it has one: it was got */
    for (char *c = my->file; *c; c++)
        if (!isalnum((unsigned char)*c) && *c != '-' && *c != '.')
            *c = '_';
    my->fd = openat(options.folder, my->file,
                    O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC,
                    0666);
    my->keep = my->fd >= 0;
    return my->keep ? 0 : -errno;
}

static void save(struct coil_coro *co)
{
    ASYNC(save, my) {
        int err = my->keep ? open_file(my) : 0;
        if (err < 0)
            FAIL(err);
        for (;;) {
            AWAIT_TO(my->n, coil_http_response_next(my->response));
            if (my->n == 0)
                break;
            my->bytes += (int64_t)my->n;
            now.bytes += (int64_t)my->n;
            my->sent = my->keep ? 0 : my->n;
            for (; my->sent < my->n; my->sent += my->written) {
                const char *rest = coil_http_response_piece(my->response) +
                                   my->sent;
                AWAIT_TO(my->written,
                         coil_write(my->fd, rest, my->n - my->sent));
            }
        }
        my->closed = true; /* an error of close(2) is one of writing */
        if (my->keep)
            AWAIT(coil_close(my->fd));
        my->keep = false;

    FINALLY;
        if (my->keep) {
            unlinkat(options.folder, my->file, 0);
            if (!my->closed)
                AWAIT(coil_close(my->fd));
        }
    }
}

/* Whatever happens to one is told in its row, and the others go on. */
struct fetch {
    struct coil_coro coro;
    struct coil_http_session *session;
    struct coil_semaphore *limit; /* one permit is held until the end */
    char *url;                    /* freed at the end */
    long number;
    int64_t began;
    struct coil_http_response *response;
    int status, err;
    bool well;
    struct save save;
};

static void fetch(struct coil_coro *co)
{
    ASYNC(fetch, my) {
        now.in_flight++;
        my->began = coil_now();
        TRY(my->err) {
            AWAIT_TO(my->response, coil_http_get(my->session, my->url));
            my->status = coil_http_response_status(my->response);
            my->well = my->status >= 200 && my->status <= 299;
            AWAIT(CALL_IN(&my->save, save, .number = my->number,
                          .keep = my->well && options.folder >= 0,
                          .url = my->url, .response = my->response));
        }
        char why[128] = "the status is not 2xx";
        if (my->err < 0)
            coil_explain(my->err, coil_last_detail(), why, sizeof why);
        row(my->status, my->save.bytes, coil_now() - my->began, my->url,
            my->well && my->err == 0 ? NULL : why);

    FINALLY;
        now.in_flight -= my->began != 0;
        coil_http_response_free(my->response);
        free(my->url);
        coil_semaphore_release(my->limit);
    }
}

/* ---- All of them ------------------------------------------------------- */

static char list[2 * 65536]; /* twice the longest URL: what is cut is none */

/* Yields the arguments, and for "-" the lines of standard input. */
struct urls {
    struct coil_coro coro;
    char **args;
    char *line, *end; /* of `list` */
    size_t n, used;
};

static void urls(struct coil_coro *co)
{
    ASYNC(urls, my) {
        for (; *my->args; my->args++) {
            if (strcmp(*my->args, "-") != 0) {
                YIELD(*my->args);
                continue;
            }
            do {
                AWAIT_TO(my->n, coil_read(STDIN_FILENO, list + my->used,
                                          sizeof list - 1 - my->used));
                my->used += my->n;
                my->end = memchr(list, '\n', my->used);
                if (my->n == 0 || (!my->end && my->used == sizeof list - 1))
                    list[my->used++] = '\n';
                my->line = list;
                while ((my->end = memchr(my->line, '\n', my->used))) {
                    my->used -= (size_t)(my->end + 1 - my->line);
                    *my->end = '\0';
                    my->line[strcspn(my->line, "\r")] = '\0';
                    if (*my->line)
                        YIELD(my->line);
                    my->line = my->end + 1;
                }
                memmove(list, my->line, my->used);
            } while (my->n > 0);
        }
    }
}

/* SIGTERM does what RUN has SIGINT do: the next one ends us at once. */
struct watch {
    struct coil_coro coro;
    struct coil_task *task;
};

static void watch(struct coil_coro *co)
{
    ASYNC(watch, my) {
        AWAIT(coil_wait_signal(SIGTERM));
        coil_task_cancel_with(my->task, COIL_CANCEL_INTERRUPT);
    }
}

struct progress {
    struct coil_coro coro;
};

static void progress(struct coil_coro *co)
{
    ASYNC(progress, my) {
        for (;;) {
            draw(true);
            AWAIT(coil_sleep(COIL_MS(200)));
        }
    }
}

struct all {
    struct coil_coro coro;
    char **args, *url;
    struct coil_http_session *session;
    struct coil_semaphore limit;
    struct coil_group fetches;
};

static void all(struct coil_coro *co)
{
    ASYNC(all, my) {
        struct coil_http_session_options o = COIL_HTTP_SESSION_OPTIONS_INIT;
        o.limit = (unsigned)options.limit;
        o.timeouts.total_ns = COIL_SECONDS(options.seconds);
        my->session = coil_http_session_new(&o);
        coil_semaphore_init(&my->limit, o.limit);
        if ((options.live && START(progress) < 0) ||
            START(watch, .task = coil_task_current()) < 0)
            FAIL(-ENOMEM);

        /* A task for each, made when it has its permit: never more of them. */
        GROUP(&my->fetches) {
            FOR_AWAIT(my->url, CALL(urls, .args = my->args)) {
                AWAIT(coil_semaphore_acquire(&my->limit));
                char *url = strdup(my->url);
                if (!url ||
                    START(fetch, .session = my->session, .url = url,
                          .limit = &my->limit, .number = ++now.begun) < 0) {
                    free(url);
                    FAIL(-ENOMEM);
                }
            }
        }

    FINALLY;
        draw(false);
        AWAIT(coil_http_session_close(my->session));
    }
}

static bool read_number(double least, double most, double *out)
{
    char *end;
    *out = strtod(optarg, &end);
    return end != optarg && *end == '\0' && *out >= least && *out <= most;
}

int main(int argc, char **argv)
{
    bool right = true, from_file = false;
    for (int c; right && (c = getopt(argc, argv, "c:t:o:f:")) != -1;) {
        if (c == 'c')
            right = read_number(1, 10000, &options.limit);
        else if (c == 't')
            right = read_number(0.001, 1e9, &options.seconds);
        else if (c == 'o' && (mkdir(optarg, 0777) == 0 || errno == EEXIST))
            options.folder = open(optarg, O_DIRECTORY | O_CLOEXEC);
        else
            right = from_file = c == 'f';
        if ((c == 'o' && options.folder < 0) ||
            (c == 'f' && !freopen(optarg, "r", stdin))) {
            perror(optarg);
            return 2;
        }
    }
    if (from_file)
        argv[--optind] = "-"; /* there is room: -f stood before */
    if (!right || optind == argc) {
        fputs("usage: fetch [-c LIMIT] [-t SECONDS] [-o FOLDER] [-f FILE] "
              "[URL... | -]\n",
              stderr);
        return 2;
    }
    options.live = isatty(STDERR_FILENO);
    setvbuf(stdout, NULL, _IOLBF, 0); /* a row is there when it is printed */

    /* A socket and a file for each: as many as we may have. */
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    now.began = coil_now();
    puts("status        bytes  seconds  URL");
    int err = RUN(all, .args = argv + optind);
    closing_rows();
    if (err == -EINTR || err == -ECANCELED) {
        puts("interrupted");
        return 130;
    }
    if (err < 0) {
        char why[128];
        fprintf(stderr, "fetch: %s\n",
                coil_explain(err, coil_last_detail(), why, sizeof why));
    }
    return err < 0 || now.failed > 0 || ferror(stdout);
}
