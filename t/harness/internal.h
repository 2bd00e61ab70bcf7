/* internal: what the files of the harness ask of each other. */
#ifndef MPX_HARNESS_INTERNAL_H
#define MPX_HARNESS_INTERNAL_H

#include "harness.h"

void h_begin(void); /* run directory and watcher */
void h_end(void);   /* ends the watcher and waits for it */
int h_is_root(void);

typedef struct h_spawn {
    const char *const *argv;
    const char *user;          /* become this user when root, or NULL */
    const char *const *env;    /* "NAME=value" to add, ended by NULL, or NULL */
    const char *input;         /* or NULL: /dev/null */
    const char *log;           /* file for both outputs; NULL: they are captured */
    int background;            /* do not wait; the pid is returned */
} h_spawn_t;

pid_t h_spawn(const h_spawn_t *spawn, h_output_t *output);

/* Pids whose command line has the argument, zombies left out. @return how many */
int h_pids_with_argument(const char *argument, pid_t *pids, int max);
int h_pid_alive(pid_t pid);
int h_port_is_free(int port); /* nobody listens on it */
void h_kill_and_wait(const char *argument, int signal_number, double seconds);

/* A directory under the run directory, owned by user when root. @return its path */
const char *h_make_dir(const char *name, const char *user, mode_t mode);

/* Print the ends of all error logs as TAP comments. */
void h_print_logs(void);
void h_httpd_end_all(void); /* ends all of them, and waits */
/* Lines of the error logs that no test may leave behind: crashes, sanitizer reports. @return how many, printed */
int h_alarming_logs(void);


void h_app_setup(void); /* migrate, roles, root key, bootstrap */
const char *h_key_file(void);

#endif
