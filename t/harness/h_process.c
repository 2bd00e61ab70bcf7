/* h_process: the run directory, its watcher, and running programs. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/resource.h>
#include <sys/un.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <netinet/in.h>
#include <arpa/inet.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

static char run_dir[64];
static int watch_pipe = -1; /* the watcher's end of life is when the last holder of this end is gone */
static pid_t watcher;

char *h_format(const char *format, ...)
{
    va_list arguments;
    char *text = NULL;

    va_start(arguments, format);
    if (vasprintf(&text, format, arguments) < 0) {
        abort();
    }
    va_end(arguments);
    return text;
}

const char *h_dir(void)
{
    return run_dir;
}

int h_is_root(void)
{
    return geteuid() == 0;
}

long long h_now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void h_pause(void)
{
    poll(NULL, 0, 10);
}

/* --- Processes by their command line: every server of a run has the run directory in it ------------------------------ */

static int read_proc(pid_t pid, const char *name, char *buffer, size_t size)
{
    char path[64];
    ssize_t n;
    int fd;

    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    n = read(fd, buffer, size - 1);
    close(fd);
    if (n < 0) {
        return -1;
    }
    buffer[n] = '\0';
    return (int)n;
}

int h_pid_alive(pid_t pid)
{
    char stat[512];
    const char *after;

    if (pid <= 0 || read_proc(pid, "stat", stat, sizeof(stat)) <= 0) {
        return 0;
    }
    after = strrchr(stat, ')');
    return after && after[1] && after[2] != 'Z' && after[2] != 'X';
}

static int has_argument(pid_t pid, const char *argument, int prefix)
{
    char line[8192];
    int n = read_proc(pid, "cmdline", line, sizeof(line));
    size_t len = strlen(argument);

    for (int i = 0; i < n; i += (int)strlen(line + i) + 1) {
        if (prefix ? strncmp(line + i, argument, len) == 0 : strcmp(line + i, argument) == 0) {
            return 1;
        }
    }
    return 0;
}

static int scan_pids(const char *argument, int prefix, pid_t *pids, int max)
{
    DIR *proc = opendir("/proc");
    struct dirent *entry;
    int found = 0;

    while (proc && (entry = readdir(proc))) {
        pid_t pid = (pid_t)atoi(entry->d_name);

        if (pid > 0 && pid != getpid() && has_argument(pid, argument, prefix) && h_pid_alive(pid)) {
            if (found < max) {
                pids[found] = pid;
            }
            found++;
        }
    }
    if (proc) {
        closedir(proc);
    }
    return found;
}

int h_pids_with_argument(const char *argument, pid_t *pids, int max)
{
    return scan_pids(argument, 0, pids, max);
}

void h_kill_and_wait(const char *argument, int signal_number, double seconds)
{
    pid_t pids[256];
    int n = h_pids_with_argument(argument, pids, 256);

    for (int i = 0; i < n && i < 256; i++) {
        kill(pids[i], signal_number);
    }
    H_WAIT(seconds, h_pids_with_argument(argument, pids, 256) == 0);
}

/* --- The watcher ------------------------------------------------------------------------------------------------------ */

static int remove_entry(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st, (void)flag, (void)ftw;
    remove(path);
    return 0;
}

/* httpd and PostgreSQL end in good order first; what is still there after ten seconds is killed. */
static void end_servers(void)
{
    char prefix[sizeof(run_dir) + 1];
    long long deadline = h_now_ms() + 10000;
    pid_t pids[256];
    int n;

    snprintf(prefix, sizeof(prefix), "%s/", run_dir);
    n = scan_pids(prefix, 1, pids, 256);
    for (int i = 0; i < n && i < 256; i++) {
        /* a sanitizer reports leaks when httpd ends by itself; PostgreSQL has nothing to keep */
        kill(pids[i], has_argument(pids[i], "-D", 0) ? SIGQUIT : SIGTERM);
    }
    while ((n = scan_pids(prefix, 1, pids, 256)) > 0 && h_now_ms() < deadline) {
        h_pause();
    }
    for (int i = 0; i < n && i < 256; i++) {
        kill(pids[i], SIGKILL);
    }
}

static void watch(int fd)
{
    char byte;

    setsid();
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    while (read(fd, &byte, 1) < 0 && errno == EINTR) {
    }
    end_servers();
    if (!getenv("MPX_KEEP")) {
        nftw(run_dir, remove_entry, 32, FTW_DEPTH | FTW_PHYS);
    }
    _exit(0);
}

void h_begin(void)
{
    const char *tmp = getenv("TMPDIR");
    int ends[2];

    snprintf(run_dir, sizeof(run_dir), "%s/mpx-t-XXXXXX", tmp && strlen(tmp) < 32 ? tmp : "/tmp");
    if (!mkdtemp(run_dir) || chmod(run_dir, 0755) || pipe(ends)) {
        h_fail("cannot make a run directory in %s: %s", run_dir, strerror(errno));
    }
    fcntl(ends[1], F_SETFD, FD_CLOEXEC);
    watcher = fork();
    if (watcher == 0) {
        int null = open("/dev/null", O_RDWR);

        close(ends[1]);
        dup2(null, 0);
        dup2(null, 1);
        dup2(null, 2);
        watch(ends[0]);
    }
    close(ends[0]);
    watch_pipe = ends[1];
}

void h_end(void)
{
    if (watch_pipe >= 0) {
        close(watch_pipe);
        watch_pipe = -1;
        waitpid(watcher, NULL, 0);
    }
}

/* --- Files ------------------------------------------------------------------------------------------------------------ */

const char *h_make_dir(const char *name, const char *user, mode_t mode)
{
    char *path = name[0] == '/' ? h_format("%s", name) : h_format("%s/%s", run_dir, name);
    struct passwd *owner = user && h_is_root() ? getpwnam(user) : NULL;

    if (mkdir(path, mode) && errno != EEXIST) {
        h_fail("cannot make %s: %s", path, strerror(errno));
    }
    if (chmod(path, mode) || (owner && chown(path, owner->pw_uid, owner->pw_gid))) {
        h_fail("cannot hand over %s: %s", path, strerror(errno));
    }
    return path;
}

const char *h_file(const char *name, const char *content)
{
    char *path = name[0] == '/' ? h_format("%s", name) : h_format("%s/%s", run_dir, name);
    FILE *file = fopen(path, "we");

    if (!file || fputs(content, file) < 0 || fclose(file)) {
        h_fail("cannot write %s: %s", path, strerror(errno));
    }
    chmod(path, 0644);
    return path;
}

char *h_read_file(const char *path)
{
    FILE *file = fopen(path, "re");
    char *text = NULL;
    size_t size = 0;

    if (!file) {
        return NULL;
    }
    if (getdelim(&text, &size, '\0', file) < 0) {
        free(text);
        text = h_format("%s", "");
    }
    fclose(file);
    return text;
}

int h_port_is_free(int port)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((unsigned short)port) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1, free;

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)); /* closed connections do not count */
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    free = fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
    if (fd >= 0) {
        close(fd);
    }
    return free;
}

#define MAX_PORTS 64
static int nports;
int h_ports_held[MAX_PORTS]; /* open to the end */

/* Nobody's server and no other test program's choice: a socket in the abstract name space says so until this process
 * ends. */
static int is_ours(int port)
{
    struct sockaddr_un name = { .sun_family = AF_UNIX };
    int fd = nports < MAX_PORTS ? socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0) : -1;

    snprintf(name.sun_path + 1, sizeof(name.sun_path) - 1, "mpx-test-port-%d", port);
    if (fd < 0 || bind(fd, (struct sockaddr *)&name, sizeof(name))) {
        close(fd);
        return 0;
    }
    h_ports_held[nports++] = fd;
    return 1;
}

/* Below the range from which the kernel takes the ports of clients: a server that is stopped and started finds its own
 * again. */
int h_free_port(void)
{
    unsigned seed = (unsigned)getpid() * 2654435761u ^ (unsigned)h_now_ms();

    for (int i = 0; i < 1000; i++) {
        int port = 20000 + (int)(rand_r(&seed) % 12000);
        if (h_port_is_free(port) && is_ours(port)) {
            return port;
        }
    }
    h_fail("no free port between 20000 and 32000");
}

/* --- Running programs --------------------------------------------------------------------------------------------------- */

static void become(const char *user)
{
    struct passwd *who;

    if (!user || !h_is_root()) {
        return;
    }
    who = getpwnam(user);
    if (!who || initgroups(user, who->pw_gid) || setgid(who->pw_gid) || setuid(who->pw_uid)) {
        fprintf(stderr, "cannot become user %s\n", user);
        _exit(126);
    }
}

static void run_child(const h_spawn_t *spawn, int input, int output, int error)
{
    signal(SIGPIPE, SIG_DFL);
    signal(SIGCHLD, SIG_DFL);
    setrlimit(RLIMIT_CORE, &(struct rlimit){ RLIM_INFINITY, RLIM_INFINITY }); /* where it may be */
    if (spawn->background) {
        setsid();
    }
    dup2(input, 0);
    dup2(output, 1);
    dup2(error, 2);
    become(spawn->user);
    for (int i = 0; spawn->env && spawn->env[i]; i++) {
        putenv((char *)spawn->env[i]);
    }
    if (spawn->user && chdir("/")) {
        _exit(126);
    }
    execvp(spawn->argv[0], (char *const *)spawn->argv);
    fprintf(stderr, "%s: %s\n", spawn->argv[0], strerror(errno));
    _exit(127);
}

static int temporary(const char *content)
{
    char *path = h_format("%s/io-XXXXXX", run_dir);
    int fd = mkostemp(path, O_CLOEXEC);

    if (fd < 0) {
        h_fail("cannot make %s: %s", path, strerror(errno));
    }
    unlink(path);
    free(path);
    if (content && (write(fd, content, strlen(content)) != (ssize_t)strlen(content) || lseek(fd, 0, SEEK_SET))) {
        h_fail("cannot write the input of a program: %s", strerror(errno));
    }
    return fd;
}

static char *slurp(int fd)
{
    off_t size = lseek(fd, 0, SEEK_END);
    char *text = calloc(1, (size_t)size + 1);

    if (!text || pread(fd, text, (size_t)size, 0) != size) {
        abort();
    }
    return text;
}

pid_t h_spawn(const h_spawn_t *spawn, h_output_t *output)
{
    int in = spawn->input ? temporary(spawn->input) : open("/dev/null", O_RDONLY | O_CLOEXEC);
    int out = spawn->log ? open(spawn->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644) : temporary(NULL);
    int err = spawn->log ? dup(out) : temporary(NULL);
    int status = 0;
    pid_t pid;

    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        run_child(spawn, in, out, err);
    }
    if (pid < 0) {
        h_fail("fork: %s", strerror(errno));
    }
    if (!spawn->background) {
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
        }
        output->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        output->text = spawn->log ? "" : slurp(out);
        output->error = spawn->log ? "" : slurp(err);
    }
    close(in);
    close(out);
    close(err);
    return pid;
}

h_output_t h_command(const char *const *argv, const char *input)
{
    h_spawn_t spawn = { .argv = argv, .input = input };
    h_output_t output;

    h_spawn(&spawn, &output);
    return output;
}
