/* core_db_pool.h: one child's pool of connections, shared by core_db_pool.c and core_db_pulse.c. Nobody else includes it. */
#ifndef CORE_DB_POOL_H
#define CORE_DB_POOL_H

#include "core_private.h"

#include "apr_portable.h"
#include "apr_thread_cond.h"
#include "apr_thread_proc.h"

#include "core_db.h"

#define POOL_MAX 64
#define KINDS 32 /* of failures that are told apart in the log */
#define PULSE_INTERVAL apr_time_from_msec(200)

typedef struct idle_connection {
    mpx_db_t *db;
    apr_time_t since;
} idle_connection_t;

/* When a kind of failure (its SQLSTATE) was last told, and how many were not since. */
typedef struct told {
    char kind[8];
    apr_time_t at;
    unsigned long unsaid;
} told_t;

typedef struct core_db_pool {
    mpx_db_source_t source; /* first: what requests see */
    server_rec *server;
    apr_pool_t *pool; /* of this child, with an allocator of its own: used under the mutex only */
    apr_thread_mutex_t *mutex;
    apr_thread_cond_t *available, *wanted, *verdict, *end;
    apr_thread_t *opener, *pulse;
    idle_connection_t idle[POOL_MAX]; /* a stack: the most recently used is taken first */
    mpx_db_t *dead[POOL_MAX];         /* broken ones, until the opener hands them back */
    apr_time_t last_ok;               /* when a connection was last given back in order: proof that the database is there;
                                       * this and all other times here are of mpx_monotonic() */
    int ndead, nidle, open, max, waiting, borrowed, stopping;
    int proof;                      /* there is a pulse, and the opener is to get a connection that proves the rest */
    const core_db_params_t *params; /* DBDParams: for the connections that are not mod_dbd's */
    mpx_db_t *heart;                /* the pulse's own, or NULL */
    apr_pool_t *heart_pool;
    apr_time_t refused; /* when mod_dbd last had no connection to give; 0: it had */
    unsigned refusals;  /* and how often one after the other, since it went or came */
    apr_time_t trouble; /* when the database last went or came; 0: never */
    apr_time_t felt;    /* when the last pulse that was felt had been asked for */
    apr_time_t looking; /* since when the pulse is at it; 0: it is not */
    int doubting;       /* how many wait for the next one, on verdict: see mpx_database_answers() */
    told_t told[KINDS];
    volatile int down;
    apr_os_thread_t main;     /* the child's first: under prefork it serves requests, and runs the handlers of signals */
    volatile int main_inside; /* written by that thread alone: it holds the mutex, or a connection */
} core_db_pool_t;

extern core_db_pool_t *core_db_pool; /* of this child; NULL in the parent */

static inline void core_db_pool_note_main(core_db_pool_t *p, int change)
{
    if (apr_os_thread_equal(apr_os_thread_current(), p->main)) {
        p->main_inside += change;
    }
}

static inline void core_db_pool_lock(core_db_pool_t *p)
{
    core_db_pool_note_main(p, 1);
    apr_thread_mutex_lock(p->mutex);
}

static inline void core_db_pool_unlock(core_db_pool_t *p)
{
    apr_thread_mutex_unlock(p->mutex);
    core_db_pool_note_main(p, -1);
}

/* core_db_pool.c; not under the mutex */

/* Idle connections are broken, and handed back by the opener. */
void core_db_pool_discard_idle(core_db_pool_t *p);
void core_db_pool_metrics_open(void); /* post_config */
/* How many connections there are that somebody uses or can use. */
int core_db_pool_usable(core_db_pool_t *p);

/* core_db_pulse.c; any thread, not under the mutex */

/* The thread that asks whether the database is there. @param data  the pool */
void *APR_THREAD_FUNC core_db_pulse_main(apr_thread_t *thread, void *data);
/* The database has gone or come. @param why  for the log */
void core_db_set_down(core_db_pool_t *p, int down, const char *why);
/* For who has waited for a connection in vain: is the pulse itself stuck? Then the database is away. */
void core_db_judge_pulse(core_db_pool_t *p);
/* A time that is enough for a database that is near, or so many round trips. @return microseconds, at most 2 s */
apr_interval_time_t core_db_stretched(apr_interval_time_t enough, int trips);

#endif
