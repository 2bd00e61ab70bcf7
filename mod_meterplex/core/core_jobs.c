/* core_jobs.c: background work on mod_watchdog. Each job has a watchdog, and so a thread, of its own in each child; which
 * child does a node's job is decided by a lease in the shared segment, which a killed child simply stops renewing.
 * mod_watchdog's own singletons are not used: after a takeover they sleep 10 s, and a graceful restart runs two at once.
 */
#include "core_private.h"

#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ap_mpm.h"
#include "apr_strings.h"
#include "apr_thread_cond.h"
#include "mod_watchdog.h"

#include "core_sql.h"

#define JOBS_MAX 16
#define NODE_LEASE_MIN apr_time_from_msec(600)
#define NODE_LEASE_MORE apr_time_from_sec(5) /* a holder may be late by that */
#define TURN_MOST apr_time_from_sec(5)       /* one that is due seldom is looked at this often, first soon after the start */
#define BUSY_LOOK apr_time_from_sec(60)      /* another node has it: when to look again */
#define SWEEP_ROWS 10000
#define SWEEP_MOST apr_time_from_sec(10)
#define BACKOFF_MAX apr_time_from_sec(30)

/* In the segment, one for each job. One word, so that a claim is one compare-and-swap: the low 22 bits are the holder's pid
 * (Linux allows no more), the others milliseconds until which it holds, on the monotonic clock. */
typedef apr_uint64_t lease_word_t;
#define LEASE_PID_BITS 22

typedef struct job {
    const char *name;
    apr_interval_time_t interval;
    mpx_job_scope_e scope;
    mpx_job_fn *fn;
    void *baton;
    server_rec *server;
    int index;
    /* of this child */
    int failures;
    pid_t thread; /* that runs it; 0: it has not yet */
    apr_time_t not_before;
    mpx_metric_t runs, failed, duration;
} job_t;

/* A run, as the job sees it and as we do. */
typedef struct running {
    mpx_job_t run; /* first */
    const job_t *job;
} running_t;

static job_t jobs[JOBS_MAX];
static int njobs;

/* Of this child. mod_watchdog never joins its threads there: they go on while pools are destroyed, and to the last
 * instruction of exit(). So it is known here who is inside a job, and nobody begins one after the end. */
static struct {
    apr_thread_mutex_t *mutex;
    apr_thread_cond_t *left;
    int running, ended;
} life;

static APR_OPTIONAL_FN_TYPE(ap_watchdog_get_instance) *watchdog_get;
static APR_OPTIONAL_FN_TYPE(ap_watchdog_register_callback) *watchdog_register;

void core_jobs_reset(apr_pool_t *pconf)
{
    njobs = 0;
    mpx_shm_want("core.jobs", 1, 1);
}

void mpx_job_register(const char *name, apr_interval_time_t interval, mpx_job_scope_e scope, mpx_job_fn *fn, void *baton)
{
    job_t *job;
    ap_assert(njobs < JOBS_MAX);
    job = &jobs[njobs];
    memset(job, 0, sizeof *job);
    job->name = name;
    job->interval = interval;
    job->scope = scope;
    job->fn = fn;
    job->baton = baton;
    job->index = njobs++;
}

int mpx_job_stopping(void)
{
    int state;
    return ap_mpm_query(AP_MPMQ_MPM_STATE, &state) == APR_SUCCESS && state == AP_MPMQ_STOPPING;
}

void core_jobs_child_init(apr_pool_t *pchild, server_rec *s)
{
    apr_pool_t *own;

    apr_pool_create_unmanaged_ex(&own, NULL, NULL); /* outlives pchild, as the threads do */
    apr_pool_tag(own, "mpx_jobs");
    if (apr_thread_mutex_create(&life.mutex, APR_THREAD_MUTEX_DEFAULT, own) != APR_SUCCESS
        || apr_thread_cond_create(&life.left, own) != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_CRIT, 0, s, "no mutex can be had: this child runs no background jobs");
        life.mutex = NULL;
    }
}

int core_jobs_end(apr_interval_time_t longest)
{
    apr_time_t deadline = mpx_monotonic() + longest;
    int running;

    if (life.mutex == NULL) {
        return 1;
    }
    apr_thread_mutex_lock(life.mutex);
    life.ended = 1;
    while (life.running > 0 && (longest < 0 || mpx_monotonic() < deadline)) {
        apr_thread_cond_timedwait(life.left, life.mutex, apr_time_from_msec(50));
    }
    running = life.running;
    apr_thread_mutex_unlock(life.mutex);
    return running == 0;
}

/* A thread that has connected to the database once carries something of libkrb5's (by libpq), which it gives back when it
 * ends: after exit() has begun to take that library down the process aborts over it. So whoever has been in a job is waited
 * for until it is no more; mod_watchdog's threads look every tenth of a second whether the child is ending. */
void core_jobs_await_threads(apr_interval_time_t longest)
{
    apr_time_t deadline = mpx_monotonic() + longest;
    int i;

    for (i = 0; i < njobs; i++) {
        pid_t thread = __atomic_load_n(&jobs[i].thread, __ATOMIC_ACQUIRE);
        while (thread && syscall(SYS_tgkill, getpid(), thread, 0) == 0 && mpx_monotonic() < deadline) {
            apr_sleep(apr_time_from_msec(2));
        }
    }
}

static int enter(void)
{
    int may;

    if (life.mutex == NULL) {
        return 0;
    }
    apr_thread_mutex_lock(life.mutex);
    may = !life.ended;
    life.running += may;
    apr_thread_mutex_unlock(life.mutex);
    return may;
}

static void leave(void)
{
    apr_thread_mutex_lock(life.mutex);
    life.running--;
    apr_thread_cond_signal(life.left);
    apr_thread_mutex_unlock(life.mutex);
}

static int is_dead(pid_t pid)
{
    return kill(pid, 0) != 0 && errno == ESRCH;
}

/* Take or renew this child's claim on a node's job, for so long; a holder that is dead holds nothing. */
static int take_node_lease(const job_t *job, apr_interval_time_t lease)
{
    apr_size_t size;
    int fresh;
    lease_word_t *words = mpx_shm_slice("core.jobs", &size, &fresh), *word, old, mine;
    apr_uint64_t now = (apr_uint64_t)apr_time_as_msec(mpx_monotonic()), pid = (apr_uint64_t)getpid();
    pid_t holder;

    if (words == NULL || size < JOBS_MAX * sizeof *words) {
        return 0;
    }
    word = &words[job->index];
    old = __atomic_load_n(word, __ATOMIC_ACQUIRE);
    holder = (pid_t)(old & ((1u << LEASE_PID_BITS) - 1));
    if (holder != (pid_t)pid && old >> LEASE_PID_BITS > now && !is_dead(holder)) {
        return 0;
    }
    mine = (now + (apr_uint64_t)apr_time_as_msec(lease)) << LEASE_PID_BITS | pid;
    return __atomic_compare_exchange_n(word, &old, mine, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

/* It holds until the next run is due and a while longer. What a node does for itself needs the database: a child that
 * alone has none leaves it to those that have. */
static int node_lease_held(const job_t *job)
{
    apr_interval_time_t more = job->interval * 2 < NODE_LEASE_MORE ? job->interval * 2 : NODE_LEASE_MORE;
    return !core_db_alone_down()
        && take_node_lease(job, job->interval + more > NODE_LEASE_MIN ? job->interval + more : NODE_LEASE_MIN);
}

void core_job_hold(mpx_job_t *run, apr_interval_time_t longest)
{
    const job_t *job = ((const running_t *)run)->job;
    if (job->scope == MPX_JOB_NODE) {
        take_node_lease(job, longest);
    }
}

static apr_status_t take_cluster_lease(mpx_tx_t *tx, void *baton)
{
    const job_t *job = baton;
    apr_pool_t *pool = mpx_tx_call(tx)->pool;
    mpx_rows_t *rows;
    mpx_param_t params[3];
    apr_status_t rv;

    params[0] = mpx_param_text(job->name);
    params[1] = mpx_param_uuid(mpx_node_id());
    params[2] = mpx_param_int(pool, job->interval * 3);
    rv = mpx_tx_query(tx, SQL_job_lease_take, params, 3, &rows);
    return rv != APR_SUCCESS ? rv : mpx_rows_count(rows) == 1 ? APR_SUCCESS
                                                              : APR_EBUSY;
}

typedef struct sweep {
    const char *sql;
    apr_int64_t deleted;
} sweep_t;

static apr_status_t sweep_some(mpx_tx_t *tx, void *baton)
{
    sweep_t *sweep = baton;
    mpx_param_t param = mpx_param_int(mpx_tx_call(tx)->pool, SWEEP_ROWS);
    mpx_rows_t *rows;
    apr_status_t rv = mpx_tx_query(tx, SQL_sweep_by_index, NULL, 0, &rows);

    rv = rv == APR_SUCCESS ? mpx_tx_query(tx, sweep->sql, &param, 1, &rows) : rv;
    if (rv == APR_SUCCESS) {
        sweep->deleted = mpx_rows_affected(rows);
    }
    return rv;
}

apr_status_t mpx_job_sweep(mpx_job_t *job, const char *sql)
{
    apr_time_t end = mpx_monotonic() + SWEEP_MOST;
    sweep_t sweep = { sql, 0 };
    apr_status_t rv;

    do {
        rv = mpx_tx_run(job->call, MPX_TX_WRITE | MPX_TX_PLATFORM, sweep_some, &sweep);
    } while (rv == APR_SUCCESS && sweep.deleted == SWEEP_ROWS && !mpx_job_stopping() && mpx_monotonic() < end);
    job->more = rv == APR_SUCCESS && sweep.deleted == SWEEP_ROWS;
    return rv;
}

static void back_off(job_t *job)
{
    apr_interval_time_t wait = job->interval << (job->failures < 8 ? job->failures : 8);
    unsigned char jitter;
    apr_generate_random_bytes(&jitter, 1);
    if (wait > BACKOFF_MAX) {
        wait = BACKOFF_MAX;
    }
    job->failures++;
    job->not_before = mpx_monotonic() + wait / 2 + wait / 2 * jitter / 255;
}

static void run_job(job_t *job, apr_pool_t *pool)
{
    mpx_call_t call;
    running_t running = { { job->server, pool, &call, 0, 0 }, job };
    mpx_job_t *run = &running.run;
    apr_time_t begun = mpx_monotonic();
    apr_status_t rv = APR_SUCCESS;

    mpx_call_system(&call, pool);
    if (job->scope == MPX_JOB_CLUSTER) {
        rv = mpx_tx_run(&call, MPX_TX_WRITE, take_cluster_lease, job);
        if (rv == APR_EBUSY) {
            job->not_before = begun + (job->interval < BUSY_LOOK ? job->interval : BUSY_LOOK);
            return;
        }
    }
    if (rv == APR_SUCCESS) {
        rv = job->fn(run, job->baton);
    }
    mpx_metric_add(job->runs, 1);
    mpx_metric_observe(job->duration, mpx_monotonic() - begun);
    if (rv == APR_SUCCESS) {
        job->failures = 0;
        job->not_before = job->interval > TURN_MOST && !run->more ? begun + job->interval : 0;
        return;
    }
    mpx_metric_add(job->failed, 1);
    if (job->failures == 0 && !mpx_job_stopping()) { /* once for each time it goes wrong, not for each try */
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, job->server, "job %s failed, it is tried again: %s", job->name,
                     call.problem.detail ? call.problem.detail : "no detail");
    }
    if (run->again) {
        job->failures++;
        return;
    }
    back_off(job);
}

static apr_status_t on_watchdog(int state, void *data, apr_pool_t *pool)
{
    job_t *job = data;

    if (state == AP_WATCHDOG_STATE_RUNNING && !mpx_job_stopping() && mpx_monotonic() >= job->not_before && enter()) {
        if (job->thread == 0) {
            __atomic_store_n(&job->thread, (pid_t)syscall(SYS_gettid), __ATOMIC_RELEASE);
        }
        if (job->scope == MPX_JOB_CHILD || node_lease_held(job)) {
            run_job(job, pool);
            apr_pool_clear(pool); /* rows of the database are given back before the job counts as left */
        }
        else {
            core_db_listeners_release(); /* what this thread listened on for it, another child hears now */
        }
        leave();
    }
    return APR_SUCCESS; /* anything else would unschedule the job for the life of the child */
}

int core_jobs_start(apr_pool_t *pconf, server_rec *s)
{
    ap_watchdog_t *watchdog;
    int i;

    watchdog_get = APR_RETRIEVE_OPTIONAL_FN(ap_watchdog_get_instance);
    watchdog_register = APR_RETRIEVE_OPTIONAL_FN(ap_watchdog_register_callback);
    for (i = 0; i < njobs; i++) {
        job_t *job = &jobs[i];
        const char *label = apr_psprintf(pconf, "job=\"%s\"", job->name);
        apr_status_t rv;

        job->server = s;
        job->runs = mpx_metric_counter("meterplex_job_runs_total", "Runs of background jobs.", label);
        job->failed = mpx_metric_counter("meterplex_job_failures_total", "Runs of background jobs that failed.", label);
        job->duration =
            mpx_metric_histogram("meterplex_job_duration_seconds", "Time a run of a background job takes.", label);
        rv = watchdog_get(&watchdog, apr_pstrcat(pconf, "meterplex-", job->name, NULL), 0, 0, pconf);
        if (rv == APR_SUCCESS) {
            rv = watchdog_register(watchdog, job->interval < TURN_MOST ? job->interval : TURN_MOST, job, on_watchdog);
        }
        if (rv != APR_SUCCESS) {
            ap_log_error(APLOG_MARK, APLOG_EMERG, rv, s, "the watchdog for job %s cannot be made", job->name);
            return HTTP_INTERNAL_SERVER_ERROR;
        }
    }
    return OK;
}
