/* core_db_pool.c: the server's connection source: mod_dbd's pool with bounded waits.
 *
 * mod_dbd has no time limit for acquiring a connection, opens new ones while it holds the pool's lock, and a connect to a
 * host that does not answer takes connect_timeout (2 s at the least). So request threads never call it: one thread in each
 * child, the opener, takes connections from mod_dbd and returns them; request threads borrow from the short list that it
 * keeps, with a deadline, and give back in microseconds. A second thread, the pulse (core_db_pulse.c), says whether the
 * database is there; while it is not, every waiting request ends at once and new ones are refused at once. So the API
 * answers within a second whatever the database does, while a slow statement on a healthy one may take its time.
 */
#include "core_db_pool.h"

#include <unistd.h>

#include "apr_dbd.h"
#include "apr_strings.h"
#include "mod_dbd.h"

#define BORROW_WAIT apr_time_from_msec(700)
#define BORROW_TRIPS 5                     /* round trips, if that is longer: a connection may have to be made */
#define OPEN_PAUSE apr_time_from_msec(100) /* after a connection that could not be had */
#define PAUSE_DOUBLINGS 5                  /* at each further one it is twice as long, */
#define OPEN_PAUSE_MAX apr_time_from_sec(2)
#define MORE_PAUSE apr_time_from_sec(1)          /* the same where there are others */
#define THREADS_PATIENCE apr_time_from_msec(500) /* they look every 100 ms */
#define STOP_PATIENCE apr_time_from_sec(1)       /* for transactions that run when a child ends */
#define IDLE_KEEP apr_time_from_sec(60)
#define STATEMENT_TIMEOUT apr_time_from_sec(30)
#define TELL_EVERY apr_time_from_sec(1) /* one of each */

core_db_pool_t *core_db_pool;
static APR_OPTIONAL_FN_TYPE(ap_dbd_open) *dbd_open;
static APR_OPTIONAL_FN_TYPE(ap_dbd_close) *dbd_close;

static mpx_metric_t metric_busy = -1, metric_lost = -1;

const char *const core_db_after[] = { "mod_dbd.c", NULL };

void core_db_pool_metrics_open(void)
{
    metric_busy = mpx_metric_counter("meterplex_database_waits_in_vain_total",
                                     "Times that no connection came free within what is waited for one.", NULL);
    metric_lost = mpx_metric_counter("meterplex_database_connections_lost_total",
                                     "Connections that broke, or did not answer in time, under a statement.", NULL);
}

int core_db_pool_find_dbd(void)
{
    dbd_open = APR_RETRIEVE_OPTIONAL_FN(ap_dbd_open);
    dbd_close = APR_RETRIEVE_OPTIONAL_FN(ap_dbd_close);
    return dbd_open && dbd_close;
}

/* Give a connection to mod_dbd again; a broken one is made anew by it when it is next asked for. Not under the mutex. */
static void hand_back(core_db_pool_t *p, mpx_db_t *db)
{
    dbd_close(p->server, core_db_owner(db));
}

/* Any thread. Handing back takes mod_dbd's lock, which the opener may hold for the whole of a connect that nobody answers:
 * so it is left to the opener itself. */
static void discard(core_db_pool_t *p, mpx_db_t *db)
{
    core_db_break(db);
    core_db_pool_lock(p);
    p->dead[p->ndead++] = db; /* never more than are open */
    apr_thread_cond_signal(p->wanted);
    core_db_pool_unlock(p);
}

/* The opener only. */
static void bury_dead(core_db_pool_t *p)
{
    for (;;) {
        mpx_db_t *db = NULL;
        core_db_pool_lock(p);
        if (p->ndead > 0) {
            db = p->dead[--p->ndead];
        }
        core_db_pool_unlock(p);
        if (db == NULL) {
            return;
        }
        hand_back(p, db);
        core_db_pool_lock(p);
        p->open--;
        core_db_pool_unlock(p);
    }
}

void core_db_pool_discard_idle(core_db_pool_t *p)
{
    for (;;) {
        mpx_db_t *db = NULL;
        core_db_pool_lock(p);
        if (p->nidle > 0) {
            db = p->idle[--p->nidle].db;
        }
        core_db_pool_unlock(p);
        if (db == NULL) {
            return;
        }
        discard(p, db);
    }
}

/* --- What requests call ------------------------------------------------------------------------------------------------ */

static apr_status_t pool_borrow(mpx_db_source_t *self, apr_pool_t *pool, mpx_db_t **out)
{
    core_db_pool_t *p = (core_db_pool_t *)self;
    apr_time_t deadline = mpx_monotonic() + core_db_stretched(BORROW_WAIT, BORROW_TRIPS);
    apr_status_t rv = APR_SUCCESS;

    core_db_pool_lock(p);
    for (;;) {
        apr_interval_time_t left = deadline - mpx_monotonic();
        if (p->down || p->stopping) {
            rv = APR_EGENERAL;
            break;
        }
        if (p->nidle > 0) {
            mpx_db_t *db = p->idle[--p->nidle].db;
            p->borrowed++;
            core_db_pool_note_main(p, 1);
            core_db_pool_unlock(p);
            if (core_db_usable(db)) {
                *out = db;
                return APR_SUCCESS;
            }
            discard(p, db);
            core_db_pool_lock(p);
            p->borrowed--;
            core_db_pool_note_main(p, -1);
            continue;
        }
        if (left <= 0) {
            core_db_pool_unlock(p);
            core_db_judge_pulse(p);
            mpx_metric_add(metric_busy, 1);
            return p->down ? APR_EGENERAL : APR_TIMEUP;
        }
        p->waiting++;
        apr_thread_cond_signal(p->wanted);
        apr_thread_cond_timedwait(p->available, p->mutex, left);
        p->waiting--;
    }
    core_db_pool_unlock(p);
    return rv;
}

static void pool_give_back(mpx_db_source_t *self, mpx_db_t *db, int broken)
{
    core_db_pool_t *p = (core_db_pool_t *)self;

    if (broken || !core_db_usable(db)) {
        mpx_metric_add(metric_lost, 1);
        discard(p, db);
        core_db_pool_lock(p);
        p->borrowed--;
        apr_thread_cond_signal(p->wanted);
        core_db_pool_unlock(p);
        core_db_pool_note_main(p, -1);
        return;
    }
    core_db_pool_lock(p);
    p->borrowed--;
    p->last_ok = mpx_monotonic();
    p->idle[p->nidle].db = db;
    p->idle[p->nidle++].since = p->last_ok;
    apr_thread_cond_signal(p->available);
    core_db_pool_unlock(p);
    core_db_pool_note_main(p, -1);
}

static int pool_alive(mpx_db_source_t *self)
{
    return !((core_db_pool_t *)self)->down;
}

/* What a database that refuses makes of each request is one line a second for each kind, and how many there were. */
static void pool_log(mpx_db_source_t *self, int severity, const char *kind, const char *message)
{
    core_db_pool_t *p = (core_db_pool_t *)self;
    apr_time_t now = mpx_monotonic();
    told_t *told = NULL;
    unsigned long unsaid = 0;
    int i;

    core_db_pool_lock(p);
    for (i = 0; i < KINDS && told == NULL; i++) {
        if (p->told[i].kind[0] == '\0' || strcmp(p->told[i].kind, kind) == 0) {
            told = &p->told[i];
        }
    }
    if (told && now - told->at < TELL_EVERY && told->kind[0]) {
        told->unsaid++;
        core_db_pool_unlock(p);
        return;
    }
    if (told) {
        apr_cpystrn(told->kind, kind, sizeof told->kind);
        told->at = now;
        unsaid = told->unsaid;
        told->unsaid = 0;
    }
    core_db_pool_unlock(p);
    if (unsaid) {
        ap_log_error(APLOG_MARK, severity, 0, p->server, "%s (and %lu more of %s since the last line)", message, unsaid,
                     kind);
    }
    else {
        ap_log_error(APLOG_MARK, severity, 0, p->server, "%s", message);
    }
}

/* --- The opener ---------------------------------------------------------------------------------------------------------- */

int core_db_pool_usable(core_db_pool_t *p)
{
    int i, n;

    core_db_pool_lock(p);
    n = p->borrowed;
    for (i = 0; i < p->nidle; i++) {
        n += core_db_usable(p->idle[i].db);
    }
    core_db_pool_unlock(p);
    return n;
}

/* Take one more connection from mod_dbd. Blocks for as long as libpq's connect does. */
static void open_one(core_db_pool_t *p, apr_pool_t *scratch)
{
    ap_dbd_t *dbd = dbd_open(scratch, p->server);
    void *native = dbd ? apr_dbd_native_handle(dbd->driver, dbd->handle) : NULL;
    mpx_db_t *db;

    if (native == NULL) {
        core_db_pool_lock(p);
        p->refused = mpx_monotonic();
        p->refusals++;
        core_db_pool_unlock(p);
        /* idle ones may have been closed, unnoticed as yet */
        if (core_db_pool_usable(p) == 0 && mpx_monotonic() - p->last_ok > PULSE_INTERVAL) {
            core_db_set_down(p, 1, "no connection can be made");
        }
        return;
    }
    core_db_pool_lock(p);
    db = core_db_adopt(dbd->pool, native, dbd);
    p->refused = 0;
    p->refusals = 0;
    p->proof = p->proof && p->down; /* there it is; who comes back by it ends it in core_db_set_down() */
    p->open++;
    p->idle[p->nidle].db = db;
    p->idle[p->nidle++].since = mpx_monotonic();
    apr_thread_cond_signal(p->available);
    core_db_pool_unlock(p);
}

/* There is a pulse again: with a connection, the database is back. One that was given back in order since does as well. */
static void come_back(core_db_pool_t *p, apr_pool_t *scratch)
{
    if (p->nidle == 0) {
        open_one(p, scratch);
    }
    if (p->nidle > 0) {
        core_db_set_down(p, 0, "it answers");
    }
}

static void close_unused(core_db_pool_t *p)
{
    mpx_db_t *db = NULL;
    core_db_pool_lock(p);
    if (p->nidle > 1 && p->idle[0].since < mpx_monotonic() - IDLE_KEEP) {
        db = p->idle[0].db;
        memmove(p->idle, p->idle + 1, (apr_size_t)--p->nidle * sizeof *p->idle);
        p->open--;
    }
    core_db_pool_unlock(p);
    if (db) {
        hand_back(p, db);
    }
}

/* Under the mutex: is a connection wanted that there might be? */
static int is_needed(const core_db_pool_t *p)
{
    return p->down ? p->proof && (p->nidle > 0 || p->open < p->max)
                   : (p->proof || p->waiting > p->nidle) && p->open < p->max;
}

/* Under the mutex: until mod_dbd may be asked again, which writes two lines at each failure. The pause is long where there
 * are others, and grows where a server that is there has no room for us. */
static apr_interval_time_t pause_left(const core_db_pool_t *p)
{
    apr_interval_time_t pause = MORE_PAUSE;

    if (p->refused == 0) {
        return 0;
    }
    if (p->open == 0) {
        pause = p->refusals < PAUSE_DOUBLINGS ? OPEN_PAUSE << (p->refusals - 1) : OPEN_PAUSE_MAX;
    }
    return p->refused + pause - mpx_monotonic();
}

static void *APR_THREAD_FUNC opener_main(apr_thread_t *thread, void *data)
{
    core_db_pool_t *p = data;
    apr_pool_t *scratch;

    apr_pool_create_unmanaged_ex(&scratch, NULL, NULL);
    core_db_pool_lock(p);
    while (!p->stopping) {
        apr_interval_time_t pause = pause_left(p);
        int down, needed;
        if (p->ndead == 0 && (!is_needed(p) || pause > 0)) {
            apr_thread_cond_timedwait(p->wanted, p->mutex, is_needed(p) ? pause : apr_time_from_sec(1));
        }
        if (p->stopping) {
            break;
        }
        down = p->down;
        needed = is_needed(p) && pause_left(p) <= 0;
        core_db_pool_unlock(p);
        bury_dead(p);
        if (needed && down) {
            come_back(p, scratch);
        }
        else if (needed) {
            open_one(p, scratch);
        }
        else if (!down) {
            close_unused(p);
        }
        apr_pool_clear(scratch);
        core_db_pool_lock(p);
    }
    core_db_pool_unlock(p);
    apr_pool_destroy(scratch);
    return NULL;
}

/* --- Start and end ------------------------------------------------------------------------------------------------------------ */

/* Wait until everything that was borrowed is back. @param longest microseconds; below 0: without end */
static void await_returns(core_db_pool_t *p, apr_interval_time_t longest)
{
    apr_time_t deadline = mpx_monotonic() + longest;

    core_db_pool_lock(p);
    while (p->borrowed > 0 && (longest < 0 || mpx_monotonic() < deadline)) {
        apr_thread_cond_timedwait(p->available, p->mutex, apr_time_from_msec(20));
    }
    core_db_pool_unlock(p);
}

/* HTTP/1 requests have ended; a job, or a stream of HTTP/2, may be in the middle of a transaction, and mod_dbd's pool is
 * destroyed next, connections in use or not. They get the time that a transaction takes, then are told that the database
 * is gone, which whoever waits for it heeds within one turn. From there on nothing bounds the wait: to free what is in
 * use is a crash, and a child that does not end is httpd's to kill.
 *
 * Under prefork a plain stop comes here from the handler of SIGTERM, in the midst of whatever the only thread was doing:
 * what it has borrowed or locked comes back by nobody else. Then the child ends as it would by SIGKILL, which costs its
 * request (as every plain stop does) and nothing else. */
static apr_status_t pool_stop(void *data)
{
    core_db_pool_t *p = data;
    apr_status_t ignored;
    apr_time_t begun = mpx_monotonic();

    if (p->main_inside) {
        _exit(0);
    }
    core_db_pool_lock(p);
    p->stopping = 1;
    apr_thread_cond_broadcast(p->wanted);
    apr_thread_cond_broadcast(p->available);
    apr_thread_cond_broadcast(p->verdict);
    apr_thread_cond_broadcast(p->end);
    core_db_pool_unlock(p);
    core_jobs_end(STOP_PATIENCE);
    await_returns(p, begun + STOP_PATIENCE - mpx_monotonic() > 0 ? begun + STOP_PATIENCE - mpx_monotonic() : 0);
    p->down = 1;
    core_jobs_end(-1);
    await_returns(p, -1);
    if (p->opener) {
        apr_thread_join(&ignored, p->opener);
    }
    if (p->pulse) {
        apr_thread_join(&ignored, p->pulse);
    }
    core_db_listeners_close();
    bury_dead(p);
    while (p->nidle > 0) {
        hand_back(p, p->idle[--p->nidle].db);
    }
    if (p->heart) {
        core_db_close(p->heart);
        p->heart = NULL;
    }
    core_jobs_await_threads(THREADS_PATIENCE);
    return APR_SUCCESS;
}

void core_db_child_init(apr_pool_t *pchild, server_rec *s)
{
    core_db_pool_t *p;
    apr_pool_t *own;
    const char *text, *conninfo, *error = NULL;
    int max;

    apr_pool_create_unmanaged_ex(&own, NULL, NULL);
    text = core_db_configured(own, "DBDMax");
    max = text ? (int)strtol(text, NULL, 10) : 0;
    conninfo = core_db_configured(own, "DBDParams");
    apr_pool_tag(own, "mpx_db_pool");
    p = apr_pcalloc(own, sizeof *p);
    p->pool = own;
    p->server = s;
    p->main = apr_os_thread_current();
    p->max = max > 0 ? max : DBD_MAX_DEFAULT;
    if (p->max > POOL_MAX) {
        p->max = POOL_MAX;
    }
    p->source.borrow = pool_borrow;
    p->source.give_back = pool_give_back;
    p->source.alive = pool_alive;
    p->source.log = pool_log;
    p->source.statement_timeout = STATEMENT_TIMEOUT;
    p->params = conninfo ? core_db_params(own, conninfo, &error) : NULL;
    if (p->params == NULL || apr_thread_mutex_create(&p->mutex, APR_THREAD_MUTEX_DEFAULT, own) != APR_SUCCESS
        || apr_thread_cond_create(&p->available, own) != APR_SUCCESS
        || apr_thread_cond_create(&p->wanted, own) != APR_SUCCESS
        || apr_thread_cond_create(&p->verdict, own) != APR_SUCCESS
        || apr_thread_cond_create(&p->end, own) != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_CRIT, 0, s, "the database pool cannot be made: %s", error ? error : "no mutex");
        return;
    }
    /* mod_dbd's pool lives in a child of pchild, which is destroyed before pchild's cleanups run: only a pre-cleanup hands
     * connections back in time. With one still out, apr_reslist aborts the process. */
    apr_pool_pre_cleanup_register(pchild, p, pool_stop);
    core_db_pool = p; /* its threads ask whether it stops */
    if (ap_thread_create(&p->opener, NULL, opener_main, p, own) != APR_SUCCESS
        || ap_thread_create(&p->pulse, NULL, core_db_pulse_main, p, own) != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_CRIT, 0, s, "the threads of the database pool cannot be started");
    }
}

/* Before child_init (in the parent) there is no database to be had. */
static apr_status_t no_borrow(mpx_db_source_t *self, apr_pool_t *pool, mpx_db_t **db)
{
    return APR_EGENERAL;
}

mpx_db_source_t *core_db_source(void)
{
    static mpx_db_source_t none = { no_borrow, NULL, NULL, NULL, STATEMENT_TIMEOUT };
    return core_db_pool ? &core_db_pool->source : &none;
}

int core_db_stopping(void)
{
    return core_db_pool == NULL || core_db_pool->stopping;
}

void core_db_lock(void)
{
    core_db_pool_lock(core_db_pool);
}

void core_db_unlock(void)
{
    core_db_pool_unlock(core_db_pool);
}
