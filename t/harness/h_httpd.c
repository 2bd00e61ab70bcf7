/* h_httpd: private servers, each with its own ServerRoot, from the httpd that the modules were built for. */
#include <arpa/inet.h>
#include <errno.h>
#include <glob.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "internal.h"

#define MAX_SERVERS 16
#define MAX_ENV 32
#define LOG_TAIL 6000

h_httpd_t *h_main_httpd;

static h_httpd_t *servers[MAX_SERVERS];
static int nservers;
static const char *environment[MAX_ENV + 1];
static int nenvironment;
static const char *expected_lines[32];
static int nexpected;

static const char *setting(const char *name, const char *fallback)
{
    const char *value = getenv(name);

    return value && *value ? value : fallback;
}

static const char *httpd_program(void)
{
    return setting("HTTPD", MPX_HTTPD);
}

void h_httpd_setenv(const char *assignment)
{
    if (nenvironment == MAX_ENV) {
        h_fail("too many environment settings");
    }
    environment[nenvironment++] = h_format("%s", assignment);
}

/* The sanitizers' run-time must be in a stock httpd before anything that is instrumented. */
static void sanitizer_environment(void)
{
    static int done;
    const char *preload = setting("METERPLEX_PRELOAD", MPX_PRELOAD);

    if (!done++ && *preload) {
        /* from the run directory: a checkout under /root is closed to the user that children become */
        const char *text = h_read_file(h_format("%s/t/harness/lsan.supp", setting("top_srcdir", MPX_SRCDIR)));

        h_httpd_setenv(h_format("LD_PRELOAD=%s", preload));
        h_httpd_setenv("ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1:handle_abort=1");
        /* the report in the error log is what counts; the process that detaches itself must not fail by its leaks */
        h_httpd_setenv(h_format("LSAN_OPTIONS=exitcode=0:print_suppressions=0:suppressions=%s",
                                h_file("lsan.supp", text ? text : "")));
    }
}

/* --- Configuration ------------------------------------------------------------------------------------------------------ */

static int built_in(const char *module)
{
    static const char *list;
    const char *argv[] = { httpd_program(), "-l", NULL };

    if (!list) {
        list = h_command(argv, NULL).text;
    }
    return strstr(list, h_format("mod_%s.c", module)) != NULL;
}

static void load(FILE *out, const char *module)
{
    const char *path = h_format("%s/mod_%s.so", setting("HTTPD_MODULEDIR", MPX_HTTPD_MODULEDIR), module);

    if (!built_in(module) && access(path, R_OK) == 0) {
        fprintf(out, "LoadModule %s_module %s\n", module, path);
    }
}

static void load_meterplex(FILE *out)
{
    static const char *const rooms[] = { "", "_identity", "_limit", "_usage", "_observe" };

    for (size_t i = 0; i < sizeof(rooms) / sizeof(*rooms); i++) {
        const char *path = h_format("%s/.libs/mod_meterplex%s.so", setting("top_builddir", MPX_BUILDDIR), rooms[i]);

        if (access(path, R_OK) == 0) {
            fprintf(out, "LoadModule meterplex%s_module %s\n", rooms[i], path);
        }
    }
}

/* @param conf  the addition: one that speaks of MeterplexProblem decides about it itself */
static void write_meterplex(FILE *out, const h_httpd_t *httpd, const char *conf)
{
    fprintf(out,
            "DBDriver pgsql\n"
            "DBDParams \"%s tcp_user_timeout=3000\"\n"
            "DBDMin 0\nDBDKeep 4\nDBDMax 8\nDBDExptime 60\n"
            "MeterplexKeyFile %s\n"
            "MeterplexStateDir %s\n"
            "%s<Location />\n    AuthzSendForbiddenOnFailure On\n</Location>\n"
            "<LocationMatch \"^/(v1|health|metrics)(/|$)\">\n    SetHandler meterplex-api\n</LocationMatch>\n",
            h_pg_conninfo("meterplex"), h_key_file(), httpd->state,
            conf && strstr(conf, "MeterplexProblem") ? "" : "MeterplexProblem On\n");
    fprintf(out, "<IfModule meterplex_observe_module>\n    MeterplexOpenAPI %s/htdocs/openapi.json\n</IfModule>\n",
            setting("top_srcdir", MPX_SRCDIR));
}

static void write_configuration(h_httpd_t *httpd, int modules, const char *conf)
{
    static const char *const standard[] = {
        "authn_core", "authn_file", "authz_core", "authz_host", "authz_user", "auth_basic", "dbd", "watchdog", "proxy",
        "proxy_http", "alias", "mime", "dir", "headers", "env", "setenvif", "rewrite", "cache",
        "http2", "status", "include", "cgid", "unixd", "log_config", "remoteip", "reqtimeout"
    };
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    load(out, h_format("mpm_%s", httpd->mpm));
    for (size_t i = 0; i < sizeof(standard) / sizeof(*standard); i++) {
        load(out, standard[i]);
    }
    fprintf(out,
            "ServerRoot %s\nServerName 127.0.0.1\nListen 127.0.0.1:%d\nPidFile %s\nErrorLog %s\nLogLevel info\n"
            "DefaultRuntimeDir %s\nDocumentRoot %s/htdocs\nTraceEnable Off\n"
            "TypesConfig /dev/null\nAddType text/html .html\nAddType application/json .json\n"
            "LogFormat \"%%h %%t \\\"%%r\\\" %%>s %%b\" common\nCustomLog %s/access.log common\n"
            "CoreDumpDirectory %s/cores\nGracefulShutdownTimeout 10\nTimeout 20\nKeepAliveTimeout 3\n"
            "<IfModule mpm_prefork_module>\n    StartServers 4\n    MinSpareServers 4\n    MaxRequestWorkers 16\n"
            "</IfModule>\n"
            "<IfModule !mpm_prefork_module>\n    StartServers 2\n    ServerLimit 4\n    ThreadLimit 16\n"
            "    ThreadsPerChild 16\n    MinSpareThreads 16\n    MaxSpareThreads 64\n    MaxRequestWorkers 64\n</IfModule>\n"
            "<Directory />\n    AllowOverride None\n    Require all granted\n</Directory>\n",
            httpd->root, httpd->port, httpd->pid_file, httpd->log, httpd->root, httpd->root, httpd->root, httpd->root);
    if (*setting("METERPLEX_PRELOAD", MPX_PRELOAD)) {
        fputs("MaxMemFree 1\n", out); /* a pool's memory is freed with the pool: who uses it later is found */
    }
    if (h_is_root()) {
        fputs("User www-data\nGroup www-data\n", out);
    }
    if (modules) {
        load_meterplex(out);
        write_meterplex(out, httpd, conf);
    }
    if (conf) {
        fprintf(out, "%s\n", conf);
    }
    fclose(out);
    h_file(h_format("%s/httpd.conf", httpd->root), text);
    free(text);
}

h_httpd_t *h_httpd_make(const char *name, int modules, const char *conf)
{
    h_httpd_t *httpd = calloc(1, sizeof(*httpd));

    if (!httpd || nservers == MAX_SERVERS) {
        h_fail("no room for another httpd");
    }
    sanitizer_environment();
    httpd->name = h_format("%s", name);
    httpd->mpm = "event";
    httpd->root = h_make_dir(h_format("httpd-%s", name), NULL, 0755);
    httpd->state = h_make_dir(h_format("httpd-%s/state", name), NULL, 0700);
    h_make_dir(h_format("httpd-%s/htdocs", name), NULL, 0755);
    h_make_dir(h_format("httpd-%s/cores", name), "www-data", 0755);
    h_file(h_format("httpd-%s/htdocs/index.html", name), "it works\n");
    httpd->log = h_format("%s/error.log", httpd->root);
    httpd->pid_file = h_format("%s/httpd.pid", httpd->root);
    httpd->port = h_free_port();
    h_file(h_format("httpd-%s/modules", name), modules ? "1" : "0");
    write_configuration(httpd, modules, conf);
    servers[nservers++] = httpd;
    return httpd;
}

void h_httpd_configure(h_httpd_t *httpd, const char *conf)
{
    char *modules = h_read_file(h_format("%s/modules", httpd->root));

    write_configuration(httpd, modules && *modules == '1', conf);
    free(modules);
}

/* --- Life ------------------------------------------------------------------------------------------------------------------ */

static h_output_t control(h_httpd_t *httpd, const char *option, const char *value)
{
    /* -X-less start detaches by itself; the run directory in the command line is how its processes are found again */
    const char *argv[] = { httpd_program(), "-d", httpd->root, "-f", h_format("%s/httpd.conf", httpd->root), option, value,
                           NULL };
    h_spawn_t spawn = { .argv = argv, .env = environment };
    h_output_t output;

    h_spawn(&spawn, &output);
    return output;
}

pid_t h_httpd_pid(const h_httpd_t *httpd)
{
    char *text = h_read_file(httpd->pid_file);
    pid_t pid = text ? (pid_t)atoi(text) : 0;

    free(text);
    return h_pid_alive(pid) ? pid : 0;
}

static int answers(int port)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((unsigned short)port) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int connected;

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected = fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
    if (fd >= 0) {
        close(fd);
    }
    return connected;
}

static size_t log_size(const h_httpd_t *httpd)
{
    char *text = h_read_file(httpd->log);
    size_t size = text ? strlen(text) : 0;

    free(text);
    return size;
}

static int logged_after(const h_httpd_t *httpd, size_t offset, const char *needle)
{
    char *text = h_read_file(httpd->log);
    int found = text && strlen(text) >= offset && strstr(text + offset, needle) != NULL;

    free(text);
    return found;
}

static int started_or_dead(const h_httpd_t *httpd, size_t offset, long long since)
{
    if (logged_after(httpd, offset, "resuming normal operations") && h_httpd_pid(httpd) && answers(httpd->port)) {
        return 1;
    }
    /* it detaches before it writes its pid: give it a moment before an absent process means that it is dead */
    return h_now_ms() - since > 2000 && h_pids_with_argument(httpd->root, NULL, 0) == 0;
}

void h_httpd_start(h_httpd_t *httpd)
{
    size_t offset = log_size(httpd);
    long long since;
    h_output_t output;

    /* a process that is ending has no command line any more, and its sockets still */
    H_WAIT(10, h_port_is_free(httpd->port));
    output = control(httpd, "-k", "start");
    since = h_now_ms();

    if (output.status) {
        h_fail("httpd %s did not start:\n%s%s", httpd->name, output.text, output.error);
    }
    H_WAIT(60, started_or_dead(httpd, offset, since));
    if (!h_httpd_pid(httpd)) {
        h_fail("httpd %s ended while it started", httpd->name);
    }
}

/* Do connections that the client has closed still wait for the server to do so, too? State 08 of /proc/net/tcp is
 * CLOSE_WAIT. */
static int clients_leave(const h_httpd_t *httpd)
{
    char *text = h_read_file("/proc/net/tcp");
    const char *local = h_format(":%04X ", (unsigned)httpd->port);
    int leave = 0;

    for (const char *line = text; line && (line = strchr(line, '\n')) != NULL; line++) {
        unsigned state;
        leave |= sscanf(line + 1, " %*d: %*x:%*x %*x:%*x %x", &state) == 1 && state == 8
            && strncmp(strchr(line + 1, ':') + 10, local, strlen(local)) == 0;
    }
    free(text);
    return leave;
}

static void end_by(h_httpd_t *httpd, int signal_number)
{
    pid_t pid = h_httpd_pid(httpd), pids[256];

    if (pid) {
        kill(pid, signal_number);
    }
    H_WAIT(30, h_pids_with_argument(httpd->root, pids, 256) == 0);
}

/* At SIGTERM the event MPM shuts the sockets that its workers are at work on, and reads them without a lock: a worker that
 * frees a connection at that moment, since its client has gone, is the end of the child (close_worker_sockets() of httpd
 * 2.4, SIGSEGV in apr_os_sock_get()). That is httpd's, seen once in some hundred runs; so clients who leave are waited
 * for. */
void h_httpd_stop(h_httpd_t *httpd)
{
    H_WAIT(5, !clients_leave(httpd));
    end_by(httpd, SIGTERM);
}

void h_httpd_graceful_stop(h_httpd_t *httpd)
{
    end_by(httpd, SIGWINCH);
}

/* Gracefully: no socket is shut under a worker (h_httpd_stop()). */
void h_httpd_end_all(void)
{
    for (int i = 0; i < nservers; i++) {
        h_httpd_graceful_stop(servers[i]);
    }
}

void h_httpd_graceful(h_httpd_t *httpd)
{
    size_t offset = log_size(httpd);
    pid_t pid = h_httpd_pid(httpd);

    if (!pid) {
        h_fail("graceful: httpd %s is not running", httpd->name);
    }
    kill(pid, SIGUSR1);
    H_WAIT(30, logged_after(httpd, offset, "resuming normal operations") || !h_httpd_pid(httpd));
    if (!h_httpd_pid(httpd)) {
        h_fail("httpd %s ended at a graceful restart", httpd->name);
    }
    H_WAIT(10, answers(httpd->port));
}

void h_httpd_kill(h_httpd_t *httpd)
{
    h_kill_and_wait(httpd->root, SIGKILL, 10);
    unlink(httpd->pid_file);
}

int h_httpd_children(const h_httpd_t *httpd, pid_t *pids, int max)
{
    pid_t all[256], parent = h_httpd_pid(httpd);
    int n = h_pids_with_argument(httpd->root, all, 256), children = 0;

    for (int i = 0; i < n && i < 256; i++) {
        if (all[i] != parent) {
            if (children < max) {
                pids[children] = all[i];
            }
            children++;
        }
    }
    return children;
}

pid_t h_httpd_kill_child(h_httpd_t *httpd)
{
    pid_t child = 0;

    h_httpd_expect_log(h_format("exit signal Killed"));
    H_WAIT(10, h_httpd_children(httpd, &child, 1) > 0);
    kill(child, SIGKILL);
    H_WAIT(10, !h_pid_alive(child));
    return child;
}

h_output_t h_httpd_try(h_httpd_t *httpd)
{
    return control(httpd, "-k", "start");
}

h_output_t h_httpd_test(h_httpd_t *httpd)
{
    return control(httpd, "-t", NULL);
}

h_output_t h_httpd_routes(h_httpd_t *httpd)
{
    return control(httpd, "-t", "-DDUMP_ROUTES");
}

/* --- Logs ------------------------------------------------------------------------------------------------------------------ */

int h_httpd_logged(const h_httpd_t *httpd, const char *text)
{
    return logged_after(httpd, 0, text);
}

/* Kept in a file too: a case runs in a process of its own, the final check in the program. */
void h_httpd_expect_log(const char *text)
{
    FILE *file = fopen(h_format("%s/expected", h_dir()), "ae");

    if (!file || fprintf(file, "%s\n", text) < 0 || fclose(file)) {
        h_fail("cannot note an expected log line");
    }
}

static void read_expected(void)
{
    char *text = h_read_file(h_format("%s/expected", h_dir()));
    char *state = NULL;

    nexpected = 0;
    for (char *line = text ? strtok_r(text, "\n", &state) : NULL; line && nexpected < 32;
         line = strtok_r(NULL, "\n", &state)) {
        expected_lines[nexpected++] = line;
    }
}

static int is_expected(const char *line)
{
    for (int i = 0; i < nexpected; i++) {
        if (strstr(line, expected_lines[i])) {
            return 1;
        }
    }
    return 0;
}

static void print_commented(const char *name, const char *text)
{
    printf("# --- %s\n", name);
    while (*text) {
        size_t n = strcspn(text, "\n");

        printf("# %.*s\n", (int)n, text);
        text += n + (text[n] == '\n');
    }
    fflush(stdout);
}

void h_print_logs(void)
{
    for (int i = 0; i < nservers; i++) {
        char *text = h_read_file(servers[i]->log);
        size_t size = text ? strlen(text) : 0;

        if (size) {
            print_commented(h_format("end of the error log of httpd %s", servers[i]->name),
                            text + (size > LOG_TAIL ? size - LOG_TAIL : 0));
        }
        free(text);
    }
}

/* LeakSanitizer's own tracer can die ("Tracer caught signal 11") when a child ends while its threads are still being
 * made: that
 * child's leaks were then not looked for. No finding about the modules, but said, so that nobody takes it for a look. Every
 * other line of a sanitizer is an alarm. */
static int leak_check_failed(const char *line)
{
    static int said;
    int failed = strstr(line, "==LeakSanitizer has encountered a fatal error.")
        || strstr(line, "==HINT: LeakSanitizer does not work");

    if (failed && !said++) {
        printf("# the leaks of a child could not be looked for: LeakSanitizer's tracer died (%s)\n", line);
    }
    return failed;
}

/* Where a process of the server's has died, if it left a core and gdb is here. */
static void print_cores(const h_httpd_t *httpd)
{
    const char *script = h_format("cd %s/cores && command -v gdb >/dev/null && for c in core*; do [ -e \"$c\" ] || "
                                  "continue; "
                                  "gdb -batch -ex bt -ex 'thread apply all bt 12' '%s' \"$c\" 2>&1 | grep -v '^\\[New' "
                                  "| head -n 200; done",
                                  httpd->root, httpd_program());
    h_output_t output = h_command((const char *[]){ "sh", "-c", script, NULL }, NULL);

    if (*output.text) {
        print_commented(h_format("where a process of httpd %s died", httpd->name), output.text);
    }
}

int h_alarming_logs(void)
{
    static const char *const alarms[] = { "exit signal", "AddressSanitizer", "LeakSanitizer", "runtime error:",
                                          "stack smashing", "Assertion", ":emerg]", ":crit]", ":alert]" };
    int found = 0, follow;

    read_expected();
    for (int i = 0; i < nservers; i++) {
        char *text = h_read_file(servers[i]->log), *state = NULL;

        follow = 0; /* lines of a sanitizer's report that say where */
        for (char *line = text ? strtok_r(text, "\n", &state) : NULL; line; line = strtok_r(NULL, "\n", &state)) {
            for (size_t a = 0; a < sizeof(alarms) / sizeof(*alarms); a++) {
                if (strstr(line, alarms[a]) && !is_expected(line) && !leak_check_failed(line)) {
                    printf("# alarming line in the error log of httpd %s: %s\n", servers[i]->name, line);
                    found++;
                    follow = strstr(line, "==ERROR") ? 60 : follow;
                    break;
                }
            }
            if (follow > 0 && follow-- < 60) {
                printf("#   %s\n", line);
            }
        }
        if (found) {
            print_cores(servers[i]);
        }
        free(text);
    }
    return found;
}
