// SPDX-License-Identifier: MIT
/*
 * fetch: get many URLs, many at once.
 *
 *     ./build/samples/fetch [-c LIMIT] [-t SECONDS] [-o FOLDER] [-L]
 *                           [--no-location] [--max-redirs N] [-k]
 *                           [--cacert FILE] [--cert FILE] [--key FILE]
 *                           [-f FILE]... [URL | -]...
 *
 *     -c  at most so many at once; 100. If `ulimit -Hn` is too low for it, as
 *         many as it allows, and a line on stderr says so if -c was given
 *     -t  at most so long for each; 300
 *     -o  save the bodies there, as NUMBER_URL; no file is overwritten
 *     -L  follow redirects, which is what it does without -L; --location is
 *         the same, --no-location the contrary, and the last of these counts
 *     --max-redirs  at most so many redirects for each; 20; 0: --no-location
 *     -k  --insecure: https:// without asking who the server is
 *     --cacert  trust the authorities in this file, not those of the system
 *     --cert, --key  a certificate to show to servers that ask for one, and its
 *         key if that is in another file
 *     -f  a list, with a URL in each line; - is the list on standard input
 *     -h  print this usage
 *
 * In a list, blank lines and comments are skipped: lines that begin with '#',
 * and what follows a blank and '#'. Lists are read as they are needed and
 * nothing is kept, so a list may be endless.
 *
 * Prints a row for each URL when it has ended: status, bytes, seconds, URL and
 * why it failed; then the sum, and the time it took. On a terminal the last
 * line tells how far it is. Any status but 2xx has failed, and so has a line
 * that is no text. Ctrl-C stops everything and cleans up; twice, at once. When
 * a row cannot be printed, all fetches in flight are cancelled, and no further
 * request begins.
 *
 * Exits with 0, 1 if any has failed or standard output cannot be written, 2 for
 * wrong usage, 130 after Ctrl-C.
 */
#define _GNU_SOURCE /* getopt_long */

#include <coil.h>
#include <coil/http.h>
#include <coil/tls.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static struct {
    double limit, seconds;
    double redirects;
    bool limit_given;
    bool location; /* follow redirects */
    int folder;    /* -1: bodies are thrown away */
    bool live;     /* a progress line */
    bool insecure;
    const char *ca, *certificate, *key; /* files, or NULL */
    struct coil_tls_client *tls;        /* NULL: no https:// */
} options = { .limit = 100,
              .seconds = 300,
              .redirects = 20,
              .location = true,
              .folder = -1 };

/* Between two awaits no other task runs: plain numbers need no lock. */
static struct {
    int64_t began, busy_ns, bytes;
    long numbers; /* of files: the last one */
    long done, failed, in_flight;
    int print_err; /* why a row could not be printed */
    struct coil_group fetches;
} now;

/* ---- What is printed --------------------------------------------------- */

static double seconds(int64_t ns)
{
    return (double)ns / 1e9;
}

/* `result` is of stdio. After an error no row can be seen: all work ends. */
static void check_printed(int result)
{
    if (result >= 0)
        return;
    now.print_err = errno;
    coil_group_cancel(&now.fetches);
}

/* The exit status of what has been printed. */
static int report_print_error(void)
{
    if (now.print_err)
        fprintf(stderr, "fetch: standard output: %s\n",
                strerror(now.print_err));
    return now.print_err != 0;
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

/* As in a URL: no byte that is printed may steer the terminal. */
static void print_escaped(const char *text)
{
    for (; *text; text++)
        if (*text > ' ' && *text <= '~')
            putchar(*text);
        else
            printf("%%%02X", (unsigned char)*text);
}

/* A URL has ended; `why` is NULL if it went well. */
static void row(int status, int64_t bytes, int64_t ns, const char *url,
                const char *why)
{
    *(why ? &now.failed : &now.done) += 1;
    now.busy_ns += ns;
    draw(false);
    printf("%6d %12lld %8.3f  ", status, (long long)bytes, seconds(ns));
    print_escaped(url);
    check_printed(printf("%s%s\n", why ? ": " : "", why ? why : ""));
    draw(true);
}

/* The comparison is of requests that succeed: time-outs would add to it. */
static void closing_rows(void)
{
    double sum = seconds(now.busy_ns), wall = seconds(coil_now() - now.began);
    printf("%6ld %12lld %8.3f  done: the sum\n", now.done, (long long)now.bytes,
           sum);
    if (now.failed > 0)
        printf("%6ld %21s  failed\n", now.failed, "");
    printf("%28.3f  the wall time", wall);
    if (now.failed == 0 && sum >= 1.05 * wall)
        printf(": %.1f times faster than one by one", sum / wall);
    check_printed(puts(""));
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
                    O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
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
    bool has_row;
    struct save save;
};

static bool is_success(const struct fetch *my)
{
    return my->status >= 200 && my->status <= 299;
}

/* The one row of this URL. */
static void end_row(struct fetch *my, const char *why)
{
    my->has_row = true;
    now.in_flight -= my->began != 0;
    row(my->status, my->save.bytes, my->began ? coil_now() - my->began : 0,
        my->url, why);
}

static void fetch(struct coil_coro *co)
{
    ASYNC(fetch, my) {
        now.in_flight++;
        my->began = coil_now();
        TRY(my->err) {
            AWAIT_TO(my->response, coil_http_get(my->session, my->url));
            my->status = coil_http_response_status(my->response);
            AWAIT(CALL_IN(&my->save, save, .number = my->number,
                          .keep = is_success(my) && options.folder >= 0,
                          .url = my->url, .response = my->response));
        }
        char why[256] = "the status is not 2xx";
        if (my->err < 0)
            coil_explain(my->err, coil_last_detail(), why, sizeof why);
        end_row(my, my->err == 0 && is_success(my) ? NULL : why);

    FINALLY;
        if (!my->has_row)
            end_row(my, "interrupted");
        coil_http_response_free(my->response);
        free(my->url);
        coil_semaphore_release(my->limit);
    }
}

/* ---- The lists --------------------------------------------------------- */

/* What a command line names: a URL, or a list in a file that is open. */
struct source {
    char *name;
    int fd; /* of a list; -1: a URL */
};

static char list[65536 + 1]; /* the longest line, and an end */

/*
 * The URL in a line of `n` bytes, without blanks and a comment; "" if there is
 * none. A line that is no text has a row that says why, and so has a list that
 * is UTF-16: its second byte is 0.
 */
static char *url_of_line(char *line, size_t n)
{
    if (memchr(line, '\0', n)) {
        row(0, 0, 0, line, "a byte of the line is 0: is the list UTF-16?");
        return "";
    }
    if (strncmp(line, "\xEF\xBB\xBF", 3) == 0)
        line += 3; /* a byte order mark, as some editors begin files with it */
    line += strspn(line, " \t\v\f");
    char *end = line;
    while (*end &&
           !(*end == '#' && (end == line || isblank((unsigned char)end[-1]))))
        end++;
    while (end > line && isspace((unsigned char)end[-1]))
        end--;
    *end = '\0';
    return line;
}

/* How many bytes the line has without its end; `n`: the end is not there. */
static size_t line_length(const char *line, size_t n)
{
    size_t len = 0;
    while (len < n && line[len] != '\n' && line[len] != '\r')
        len++;
    return len;
}

/* Yields the lines of a list that have a URL. */
struct lines {
    struct coil_coro coro;
    struct source *source;
    char *line, *url;
    size_t n, used, len;
    bool too_long; /* `list` has the rest of a line that has its row */
};

static void lines(struct coil_coro *co)
{
    ASYNC(lines, my) {
        do {
            AWAIT_TO(my->n, coil_read(my->source->fd, list + my->used,
                                      sizeof list - 1 - my->used));
            my->used += my->n;
            if (my->n == 0 && my->used > 0)
                list[my->used++] = '\n';
            my->line = list;

            /* A line ends with "\n", "\r\n" or "\r"; empty ones are none. */
            for (;;) {
                size_t rest = my->used - (size_t)(my->line - list);
                my->len = line_length(my->line, rest);
                if (my->len == rest)
                    break;
                my->line[my->len] = '\0';
                my->url = my->too_long ? "" : url_of_line(my->line, my->len);
                my->too_long = false;
                if (*my->url)
                    YIELD(my->url);
                my->line += my->len + 1;
            }
            my->used -= (size_t)(my->line - list);
            memmove(list, my->line, my->used);
            if (my->used == sizeof list - 1) {
                list[80] = '\0';
                if (!my->too_long)
                    row(0, 0, 0, list, "the line is too long");
                my->too_long = true;
                my->used = 0;
            }
        } while (my->n > 0);
    }
}

/* Yields all URLs. A list that cannot be read has a row. */
struct urls {
    struct coil_coro coro;
    struct source *source;
    char *url;
    int err;
};

static void urls(struct coil_coro *co)
{
    ASYNC(urls, my) {
        for (; my->source->name; my->source++) {
            if (my->source->fd < 0) {
                YIELD(my->source->name);
                continue;
            }
            TRY(my->err) {
                FOR_AWAIT(my->url, CALL(lines, .source = my->source)) {
                    YIELD(my->url);
                }
            }
            if (my->err < 0)
                row(0, 0, 0, my->source->name, coil_strerror(my->err));
        }
    }
}

/* ---- All of them ------------------------------------------------------- */

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
    struct source *sources;
    char *url;
    struct coil_http_session *session;
    struct coil_semaphore limit;
};

static void all(struct coil_coro *co)
{
    ASYNC(all, my) {
        struct coil_http_session_options o = COIL_HTTP_SESSION_OPTIONS_INIT;
        o.limit = (unsigned)options.limit;
        o.timeouts.total_ns = COIL_SECONDS(options.seconds);
        o.redirects_max = options.location && options.redirects > 0
                              ? (int)options.redirects
                              : COIL_HTTP_NO_REDIRECTS;
        o.tls = options.tls;
        my->session = coil_http_session_new(&o);
        coil_semaphore_init(&my->limit, o.limit);
        if ((options.live && START(progress) < 0) ||
            START(watch, .task = coil_task_current()) < 0)
            FAIL(-ENOMEM);

        /* A task for each, made when it has its permit: never more of them. */
        GROUP(&now.fetches) {
            FOR_AWAIT(my->url, CALL(urls, .source = my->sources)) {
                AWAIT(coil_semaphore_acquire(&my->limit));
                char *url = strdup(my->url);
                if (!url ||
                    START(fetch, .session = my->session, .url = url,
                          .limit = &my->limit, .number = ++now.numbers) < 0) {
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

/*
 * A standard descriptor that is closed would be the one of the next file or
 * socket, and what is printed would go there. Here it fails with EBADF.
 */
static void keep_standard_descriptors(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

/*
 * The folder may have files of earlier runs: their numbers are not reused. No
 * run counts to half of LONG_MAX: a file with such a number is of another
 * program, and counting on from there could overflow.
 */
static int open_folder(const char *name)
{
    if (mkdir(name, 0777) < 0 && errno != EEXIST)
        return -1;
    DIR *folder = opendir(name);
    if (!folder)
        return -1;
    for (struct dirent *file; (file = readdir(folder));) {
        char *end;
        long number = strtol(file->d_name, &end, 10);
        if (*end == '_' && number > now.numbers && number < LONG_MAX / 2)
            now.numbers = number;
    }
    closedir(folder);
    return open(name, O_DIRECTORY | O_CLOEXEC);
}

/*
 * As many descriptors as we may have. With -o each URL needs two, so fewer URLs
 * go at once if need be: 32 are left for the loop, the lists, and names that
 * are resolved. Without -o the limit stays: a session waits for sockets by
 * itself, and can use those of the 32 that are free.
 */
static void fit_limit_to_descriptors(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) < 0)
        return;
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    rlim_t each = options.folder >= 0 ? 2 : 1;
    rlim_t most = files.rlim_cur > 34 ? (files.rlim_cur - 32) / each : 1;
    if (options.limit <= (double)most)
        return;
    if (options.limit_given)
        fprintf(stderr,
                "fetch: -c %.0f: `ulimit -Hn` is %llu, which is enough for "
                "%llu at once\n",
                options.limit, (unsigned long long)files.rlim_cur,
                (unsigned long long)most);
    if (options.folder >= 0)
        options.limit = (double)most;
}

static int open_list(const char *name)
{
    struct stat status;
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) < 0 || !S_ISDIR(status.st_mode))
        return fd;
    close(fd);
    errno = EISDIR;
    return -1;
}

static struct source url_or_stdin(char *arg)
{
    bool is_stdin = strcmp(arg, "-") == 0;
    return (struct source){ .name = arg, .fd = is_stdin ? STDIN_FILENO : -1 };
}

/*
 * Whom https:// trusts. Without an option for TLS, http:// does not need it: a
 * system without a file of authorities has no https://, and that is all.
 */
#ifdef COIL_SAMPLE_TLS
static bool make_tls_client(bool asked)
{
    struct coil_tls_client_options o = COIL_TLS_CLIENT_OPTIONS_INIT;
    struct coil_tls_why why;
    o.verify = options.insecure ? COIL_TLS_VERIFY_NONE : COIL_TLS_VERIFY_CHAIN;
    o.ca.file = options.ca;
    o.certificate.file = options.certificate;
    o.key.file = options.key;
    if (coil_tls_client_new(&options.tls, &o, &why) == 0)
        return true;
    fprintf(stderr, "fetch: no https: %s\n", why.text);
    return !asked;
}

static void drop_tls_client(void)
{
    coil_tls_client_unref(options.tls);
}
#else
static bool make_tls_client(bool asked)
{
    if (asked)
        fputs("fetch: it was built without TLS\n", stderr);
    return !asked;
}

static void drop_tls_client(void)
{
}
#endif

#define USAGE \
    "usage: fetch [-c LIMIT] [-t SECONDS] [-o FOLDER] [-L] [--no-location]\n" \
    "             [--max-redirs N] [-k] [--cacert FILE] [--cert FILE]\n" \
    "             [--key FILE] [-f FILE]... [URL | -]...\n"

/* Long options without a letter. */
enum { NO_LOCATION = 256, MAX_REDIRS, CACERT, CERT, KEY };

/* The command line; a status to exit with, or -1: go on. */
static int read_options(int argc, char **argv, struct source *sources)
{
    static const struct option long_options[] = {
        { "help", no_argument, NULL, 'h' },
        { "location", no_argument, NULL, 'L' },
        { "no-location", no_argument, NULL, NO_LOCATION },
        { "max-redirs", required_argument, NULL, MAX_REDIRS },
        { "insecure", no_argument, NULL, 'k' },
        { "cacert", required_argument, NULL, CACERT },
        { "cert", required_argument, NULL, CERT },
        { "key", required_argument, NULL, KEY },
        { NULL, 0, NULL, 0 },
    };
    const char *folder = NULL;
    bool right = true, tls = false;
    int n = 0, c;
    /* '-' first: arguments that are no options are returned as 1, in order. */
    while (right && (c = getopt_long(argc, argv, "-c:t:o:f:Lkh", long_options,
                                     NULL)) != -1) {
        switch (c) {
        case 'c':
            right = read_number(1, 10000, &options.limit);
            options.limit_given = true;
            break;
        case 't':
            right = read_number(0.001, 1e9, &options.seconds);
            break;
        case 'o':
            folder = optarg;
            break;
        case 'L':
        case NO_LOCATION:
            options.location = c == 'L';
            break;
        case MAX_REDIRS:
            right = read_number(0, 1000, &options.redirects);
            break;
        case 'k':
            options.insecure = tls = true;
            break;
        case CACERT:
            options.ca = optarg;
            tls = true;
            break;
        case CERT:
            options.certificate = optarg;
            tls = true;
            break;
        case KEY:
            options.key = optarg;
            tls = true;
            break;
        case 1:
            sources[n++] = url_or_stdin(optarg);
            break;
        case 'f':
            sources[n] = url_or_stdin(optarg);
            if (sources[n].fd < 0)
                sources[n].fd = open_list(optarg);
            if (sources[n++].fd < 0) {
                perror(optarg);
                return 2;
            }
            break;
        case 'h':
            check_printed(fputs(USAGE, stdout));
            return report_print_error();
        default:
            right = false;
        }
    }
    while (right && optind < argc) /* behind "--"; with musl, behind "-" */
        sources[n++] = url_or_stdin(argv[optind++]);
    if (!right || n == 0) {
        fputs(USAGE, stderr);
        return 2;
    }
    if (folder && (options.folder = open_folder(folder)) < 0) {
        perror(folder);
        return 2;
    }
    return make_tls_client(tls) ? -1 : 2;
}

int main(int argc, char **argv)
{
    keep_standard_descriptors();
    setvbuf(stdout, NULL, _IOLBF, 0); /* a row is there when it is printed */
    struct source *sources = calloc((size_t)argc + 1, sizeof *sources);
    int status = sources ? read_options(argc, argv, sources) : 1;
    if (status >= 0) {
        free(sources);
        return status;
    }
    options.live = isatty(STDERR_FILENO);
    fit_limit_to_descriptors();

    now.began = coil_now();
    check_printed(puts("status        bytes  seconds  URL"));
    int err = RUN(all, .sources = sources);
    free(sources);
    drop_tls_client();
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
    return report_print_error() || err < 0 || now.failed > 0;
}
