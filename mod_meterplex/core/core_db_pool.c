/* core_db_pool.c: the server's connection source: mod_dbd's pool with bounded waits.
 *
 * mod_dbd has no time limit for acquiring a connection, opens new ones while it holds the pool's lock, and a connect to a
 * host that does not answer takes connect_timeout (2 s at the least). So request threads never call it: one thread in each
 * child, the opener, takes connections from mod_dbd and returns them; request threads borrow from the short list that it
 * keeps, with a deadline, and give back in microseconds. A second thread, the pulse, asks the server for a sign of life
 * on a connection of its own while statements are waited for. When it fails, every waiting request ends at once and new
 * ones are refused at once, until the opener has found the database again. So the API answers within a second whatever
 * the database does, while a slow statement on a healthy database may take its time.
 */
#include "core_private.h"

#include "apr_dbd.h"
#include "apr_strings.h"
#include "apr_thread_cond.h"
#include "apr_thread_proc.h"
#include "mod_dbd.h"

#include "core_db.h"

#define BORROW_WAIT apr_time_from_msec(700)
#define PULSE_INTERVAL apr_time_from_msec(200)
#define POOLED_RECHECK apr_time_from_sec(60) /* between two looks whether a pooler still stands in between */
#define PULSE_DEADLINE apr_time_from_msec(400)
#define RETRY_INTERVAL apr_time_from_msec(250)
#define STOP_PATIENCE apr_time_from_sec(1) /* for transactions that run when a child ends */
#define QUIET_TURNS 5 /* while nothing is asked of the database, the pulse is taken once a second */
#define IDLE_KEEP apr_time_from_sec(60)
#define STATEMENT_TIMEOUT apr_time_from_sec(30)
#define POOL_MAX 64
#define DBD_MAX_DEFAULT 10 /* mod_dbd's own default of DBDMax */

typedef struct idle_connection {
    mpx_db_t *db;
    apr_time_t since;
} idle_connection_t;

typedef struct db_pool {
    mpx_db_source_t source; /* first: what requests see */
    server_rec *server;
    apr_pool_t *pool; /* of this child, with an allocator of its own: used under the mutex only */
    apr_thread_mutex_t *mutex;
    apr_thread_cond_t *available, *wanted;
    apr_thread_t *opener, *pulse;
    idle_connection_t idle[POOL_MAX]; /* a stack: the most recently used is taken first */
    mpx_db_t *dead[POOL_MAX];         /* broken ones, until the opener hands them back */
    apr_time_t last_ok;               /* when a connection was last given back in order: proof that the database is there */
    int ndead, nidle, open, max, waiting, borrowed, stopping;
    mpx_db_t *heart;   /* the pulse's own; NULL until a first connection has been made */
    apr_pool_t *heart_pool;
    mpx_db_t *pattern; /* the first heart, kept to the end: its parameters are those of every further connection */
    volatile int down;
} db_pool_t;

static db_pool_t *db_pool;
static APR_OPTIONAL_FN_TYPE(ap_dbd_open) *dbd_open;
static APR_OPTIONAL_FN_TYPE(ap_dbd_close) *dbd_close;

const char *const core_db_after[] = { "mod_dbd.c", NULL };

static void lock(db_pool_t *p)
{
    apr_thread_mutex_lock(p->mutex);
}

static void unlock(db_pool_t *p)
{
    apr_thread_mutex_unlock(p->mutex);
}

static mpx_metric_t metric_up = -1; /* shared: what the child that looked last has seen */

void core_db_metrics_open(void)
{
    metric_up = mpx_metric_gauge("meterplex_database_up", "1 while PostgreSQL answers, as the child that looked last has seen it.",
                                 NULL);
    mpx_metric_set(metric_up, 1); /* until somebody has looked */
}

int core_db_seen_down(void)
{
    return mpx_database_down() || (metric_up >= 0 && mpx_metric_value(metric_up) == 0);
}

/* Any thread; not under the mutex. */
static void set_down(db_pool_t *p, int down, const char *why)
{
    lock(p);
    if (p->down != down) {
        mpx_metric_set(metric_up, !down);
        p->down = down;
        ap_log_error(APLOG_MARK, down ? APLOG_ERR : APLOG_NOTICE, 0, p->server, "database %s (%s)",
                     down ? "is away" : "is back", why);
    }
    apr_thread_cond_broadcast(p->available);
    unlock(p);
}

/* Give a connection to mod_dbd again; a broken one is made anew by it when it is next asked for. Not under the mutex. */
static void hand_back(db_pool_t *p, mpx_db_t *db)
{
    dbd_close(p->server, core_db_owner(db));
}

/* Any thread. Handing back takes mod_dbd's lock, which the opener may hold for the whole of a connect that nobody answers:
 * so it is left to the opener itself. */
static void discard(db_pool_t *p, mpx_db_t *db)
{
    core_db_break(db);
    lock(p);
    p->dead[p->ndead++] = db; /* never more than are open */
    apr_thread_cond_signal(p->wanted);
    unlock(p);
}

/* The opener only. */
static void bury_dead(db_pool_t *p)
{
    for (;;) {
        mpx_db_t *db = NULL;
        lock(p);
        if (p->ndead > 0) {
            db = p->dead[--p->ndead];
        }
        unlock(p);
        if (db == NULL) {
            return;
        }
        hand_back(p, db);
        lock(p);
        p->open--;
        unlock(p);
    }
}

static void discard_idle(db_pool_t *p)
{
    for (;;) {
        mpx_db_t *db = NULL;
        lock(p);
        if (p->nidle > 0) {
            db = p->idle[--p->nidle].db;
        }
        unlock(p);
        if (db == NULL) {
            return;
        }
        discard(p, db);
    }
}

/* --- What requests call ------------------------------------------------------------------------------------------------ */

static apr_status_t pool_borrow(mpx_db_source_t *self, apr_pool_t *pool, mpx_db_t **out)
{
    db_pool_t *p = (db_pool_t *)self;
    apr_time_t deadline = apr_time_now() + BORROW_WAIT;
    apr_status_t rv = APR_SUCCESS;

    lock(p);
    for (;;) {
        apr_interval_time_t left = deadline - apr_time_now();
        if (p->down || p->stopping) {
            rv = APR_EGENERAL;
            break;
        }
        if (p->nidle > 0) {
            mpx_db_t *db = p->idle[--p->nidle].db;
            p->borrowed++;
            unlock(p);
            if (core_db_usable(db)) {
                *out = db;
                return APR_SUCCESS;
            }
            discard(p, db);
            lock(p);
            p->borrowed--;
            continue;
        }
        if (left <= 0) {
            rv = APR_TIMEUP;
            break;
        }
        p->waiting++;
        apr_thread_cond_signal(p->wanted);
        apr_thread_cond_timedwait(p->available, p->mutex, left);
        p->waiting--;
    }
    unlock(p);
    return rv;
}

static void pool_give_back(mpx_db_source_t *self, mpx_db_t *db, int broken)
{
    db_pool_t *p = (db_pool_t *)self;

    if (broken || !core_db_usable(db)) {
        discard(p, db);
        lock(p);
        p->borrowed--;
        apr_thread_cond_signal(p->wanted);
        unlock(p);
        return;
    }
    lock(p);
    p->borrowed--;
    p->last_ok = apr_time_now();
    p->idle[p->nidle].db = db;
    p->idle[p->nidle++].since = p->last_ok;
    apr_thread_cond_signal(p->available);
    unlock(p);
}

static int pool_alive(mpx_db_source_t *self)
{
    return !((db_pool_t *)self)->down;
}

static void pool_log(mpx_db_source_t *self, int severity, const char *message)
{
    ap_log_error(APLOG_MARK, severity, 0, ((db_pool_t *)self)->server, "%s", message);
}

/* --- The opener ---------------------------------------------------------------------------------------------------------- */

/* A connection outside mod_dbd's pool, for the pulse and for LISTEN. */
static mpx_db_t *extra_connection(db_pool_t *p, apr_pool_t *pool)
{
    mpx_db_t *pattern;
    lock(p);
    pattern = p->pattern;
    unlock(p);
    return pattern ? core_db_connect_like(pool, pattern, PULSE_DEADLINE) : NULL;
}

static int answers(mpx_db_t *db, apr_pool_t *pool)
{
    core_db_wait_t wait = { PULSE_DEADLINE, NULL };
    core_db_error_t error;
    return core_db_script(db, pool, &wait, "SELECT 1", &error) == CORE_DB_OK;
}

/* Take one more connection from mod_dbd. Blocks for as long as libpq's connect does. */
static void open_one(db_pool_t *p, apr_pool_t *scratch)
{
    ap_dbd_t *dbd = dbd_open(scratch, p->server);
    void *native = dbd ? apr_dbd_native_handle(dbd->driver, dbd->handle) : NULL;
    mpx_db_t *db;
    int others;

    if (native == NULL) {
        lock(p);
        others = p->open;
        if (others > 0) {
            p->max = others; /* the server takes no more of us; grows again when one of them goes */
        }
        unlock(p);
        if (others == 0 && apr_time_now() - p->last_ok > PULSE_INTERVAL) {
            set_down(p, 1, "no connection can be made");
        }
        return;
    }
    lock(p);
    db = core_db_adopt(dbd->pool, native, dbd);
    p->open++;
    p->idle[p->nidle].db = db;
    p->idle[p->nidle++].since = apr_time_now();
    apr_thread_cond_signal(p->available);
    unlock(p);
}

/* The database is known to be away: look for it. */
static void seek(db_pool_t *p, apr_pool_t *scratch)
{
    mpx_db_t *probe;

    discard_idle(p);
    if (p->pattern == NULL) {
        ap_dbd_t *dbd = dbd_open(scratch, p->server);
        if (dbd) {
            dbd_close(p->server, dbd);
            set_down(p, 0, "a connection was made");
        }
        return;
    }
    probe = extra_connection(p, scratch);
    if (probe) {
        if (answers(probe, scratch)) {
            set_down(p, 0, "it answers");
        }
        core_db_close(probe);
    }
}

static void close_unused(db_pool_t *p)
{
    mpx_db_t *db = NULL;
    lock(p);
    if (p->nidle > 1 && p->idle[0].since < apr_time_now() - IDLE_KEEP) {
        db = p->idle[0].db;
        memmove(p->idle, p->idle + 1, (apr_size_t)--p->nidle * sizeof *p->idle);
        p->open--;
    }
    unlock(p);
    if (db) {
        hand_back(p, db);
    }
}

static void *APR_THREAD_FUNC opener_main(apr_thread_t *thread, void *data)
{
    db_pool_t *p = data;
    int configured = p->max;
    apr_pool_t *scratch;

    apr_pool_create_unmanaged_ex(&scratch, NULL, NULL);
    lock(p);
    while (!p->stopping) {
        /* The first connection is made without being asked for: it tells whether the database is there. */
        int needed = (p->waiting > p->nidle && p->open < p->max) || (p->open == 0 && p->pattern == NULL);
        int down = p->down;
        if (!needed && !down && p->ndead == 0) {
            apr_thread_cond_timedwait(p->wanted, p->mutex, apr_time_from_sec(1));
        }
        else if (down) {
            apr_thread_cond_timedwait(p->wanted, p->mutex, RETRY_INTERVAL);
        }
        if (p->stopping) {
            break;
        }
        needed = needed || (p->waiting > p->nidle && p->open < p->max);
        if (p->open < p->max) {
            p->max = configured;
        }
        unlock(p);
        bury_dead(p);
        if (down) {
            seek(p, scratch);
        }
        else if (needed) {
            open_one(p, scratch);
        }
        else {
            close_unused(p);
        }
        apr_pool_clear(scratch);
        lock(p);
    }
    unlock(p);
    apr_pool_destroy(scratch);
    return NULL;
}

/* --- The pulse ------------------------------------------------------------------------------------------------------------- */

/* A connection in a pool of its own, which is gone with it, or with the failure to make it. */
static mpx_db_t *heart_like(mpx_db_t *like, apr_pool_t **pool)
{
    mpx_db_t *heart;

    apr_pool_create_unmanaged_ex(pool, NULL, NULL);
    heart = core_db_connect_like(*pool, like, PULSE_DEADLINE);
    if (heart == NULL) {
        apr_pool_destroy(*pool);
    }
    return heart;
}

/* Make the heart like any connection that there is: one is borrowed for it, as a request would.
 * @return 0 when it cannot be made and that connection is dead, too: the database went before there was a heart */
static int heart_make(db_pool_t *p, apr_pool_t *scratch)
{
    mpx_db_t *db = NULL, *heart;
    apr_pool_t *own;
    int alive;

    lock(p);
    if (p->nidle > 0 && !p->stopping) {
        db = p->idle[--p->nidle].db;
        p->borrowed++;
    }
    unlock(p);
    if (db == NULL) {
        return 1;
    }
    heart = heart_like(db, &own);
    alive = heart || answers(db, scratch);
    if (heart) {
        lock(p);
        p->heart = p->pattern = heart;
        p->heart_pool = own;
        unlock(p);
    }
    pool_give_back(&p->source, db, !alive);
    return alive;
}

/* Replace a heart that has stopped, once the database is there again. */
static void heart_renew(db_pool_t *p)
{
    apr_pool_t *own, *old_pool = p->heart_pool;
    mpx_db_t *fresh = heart_like(p->pattern, &own), *old = p->heart;

    if (fresh) {
        lock(p);
        p->heart = fresh;
        p->heart_pool = own;
        unlock(p);
        if (old != p->pattern) {
            core_db_close(old);
            apr_pool_destroy(old_pool);
        }
    }
}

/* A connection that was closed under us (an administrator ended it, a server restarted in between) says nothing of the
 * database yet: it is made anew once. One that is silent to the deadline has said enough. */
static int beats(db_pool_t *p, apr_pool_t *scratch)
{
    apr_time_t begun = apr_time_now();
    if (answers(p->heart, scratch)) {
        return 1;
    }
    if (apr_time_now() - begun > PULSE_DEADLINE / 2) {
        return 0;
    }
    heart_renew(p);
    return answers(p->heart, scratch);
}

static void *APR_THREAD_FUNC pulse_main(apr_thread_t *thread, void *data)
{
    db_pool_t *p = data;
    apr_pool_t *scratch;
    unsigned turn;

    apr_pool_create_unmanaged_ex(&scratch, NULL, NULL);
    for (turn = 0; !p->stopping; turn++) {
        apr_sleep(PULSE_INTERVAL);
        if (p->heart == NULL) {
            if (!p->down && !heart_make(p, scratch)) {
                set_down(p, 1, "no sign of life");
            }
        }
        else if (!p->down && (p->borrowed > 0 || turn % QUIET_TURNS == 0)) {
            if (!core_db_usable(p->heart)) {
                heart_renew(p);
            }
            /* A pulse that fails while statements succeed is about its own connection. */
            if (beats(p, scratch)) {
                mpx_metric_set(metric_up, 1); /* whoever has seen it away may not be there any more */
            }
            else if (apr_time_now() - p->last_ok > PULSE_INTERVAL) {
                set_down(p, 1, "no sign of life");
            }
        }
        apr_pool_clear(scratch);
    }
    apr_pool_destroy(scratch);
    return NULL;
}

/* --- Start and end ------------------------------------------------------------------------------------------------------------ */

typedef struct listener {
    struct listener *next;
    const char *channel;
    apr_pool_t *pool;
    apr_pool_t *db_pool; /* the connection's own, destroyed with it */
    mpx_db_t *db;
    apr_time_t checked;
    apr_time_t pooled; /* when a pooler was found in between; 0: none */
} listener_t;

static listener_t *listeners; /* of this child; each is used by its job's thread only, the list under the pool's mutex */

static void listener_close(listener_t *l)
{
    if (l->db) {
        core_db_close(l->db);
        l->db = NULL;
    }
    if (l->db_pool) {
        apr_pool_destroy(l->db_pool);
        l->db_pool = NULL;
    }
}

/* No job runs any more. */
static void listeners_stop(void)
{
    listener_t *l;

    for (l = listeners; l; l = l->next) {
        listener_close(l);
    }
}

/* Wait until everything that was borrowed is back. @param longest microseconds; below 0: without end */
static void await_returns(db_pool_t *p, apr_interval_time_t longest)
{
    apr_time_t deadline = apr_time_now() + longest;

    lock(p);
    while (p->borrowed > 0 && (longest < 0 || apr_time_now() < deadline)) {
        apr_thread_cond_timedwait(p->available, p->mutex, apr_time_from_msec(20));
    }
    unlock(p);
}

/* HTTP/1 requests have ended; a job, or a stream of HTTP/2, may be in the middle of a transaction, and mod_dbd's pool is
 * destroyed next, connections in use or not. They get the time that a transaction takes, then are told that the database
 * is gone, which whoever waits for it heeds within one turn. From there on nothing bounds the wait: to free what is in
 * use is a crash, and a child that does not end is httpd's to kill. */
static apr_status_t pool_stop(void *data)
{
    db_pool_t *p = data;
    apr_status_t ignored;
    apr_time_t begun = apr_time_now();

    lock(p);
    p->stopping = 1;
    apr_thread_cond_broadcast(p->wanted);
    apr_thread_cond_broadcast(p->available);
    unlock(p);
    core_jobs_end(STOP_PATIENCE);
    await_returns(p, begun + STOP_PATIENCE - apr_time_now() > 0 ? begun + STOP_PATIENCE - apr_time_now() : 0);
    p->down = 1;
    core_jobs_end(-1);
    await_returns(p, -1);
    apr_thread_join(&ignored, p->opener);
    apr_thread_join(&ignored, p->pulse);
    listeners_stop();
    bury_dead(p);
    while (p->nidle > 0) {
        hand_back(p, p->idle[--p->nidle].db);
    }
    if (p->heart && p->heart != p->pattern) {
        core_db_close(p->heart);
    }
    if (p->pattern) {
        core_db_close(p->pattern);
    }
    p->heart = p->pattern = NULL;
    return APR_SUCCESS;
}

/* The value of DBDMax, which mod_dbd keeps to itself. */
static int configured_max(const ap_directive_t *d)
{
    int max = 0;
    for (; d; d = d->next) {
        if (ap_cstr_casecmp(d->directive, "DBDMax") == 0) {
            max = (int)strtol(d->args, NULL, 10);
        }
        else if (d->first_child && max == 0) {
            max = configured_max(d->first_child);
        }
    }
    return max;
}

static const char *configured_driver(const ap_directive_t *d)
{
    const char *driver = NULL;
    for (; d && !driver; d = d->next) {
        driver = ap_cstr_casecmp(d->directive, "DBDriver") == 0 ? d->args : NULL;
        if (!driver && d->first_child) {
            driver = configured_driver(d->first_child);
        }
    }
    return driver;
}

int core_db_check(server_rec *s)
{
    const char *driver = configured_driver(ap_conftree);

    dbd_open = APR_RETRIEVE_OPTIONAL_FN(ap_dbd_open);
    dbd_close = APR_RETRIEVE_OPTIONAL_FN(ap_dbd_close);
    if (dbd_open == NULL || dbd_close == NULL) {
        ap_log_error(APLOG_MARK, APLOG_STARTUP | APLOG_EMERG, 0, s,
                     "Meterplex needs mod_dbd: add \"LoadModule dbd_module modules/mod_dbd.so\"");
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    if (driver == NULL || strcmp(driver, "pgsql") != 0) {
        ap_log_error(APLOG_MARK, APLOG_STARTUP | APLOG_EMERG, 0, s,
                     "Meterplex keeps its data in PostgreSQL: DBDriver is \"%s\", it must be \"pgsql\"",
                     driver ? driver : "(not set)");
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    return OK;
}

void core_db_child_init(apr_pool_t *pchild, server_rec *s)
{
    db_pool_t *p;
    apr_pool_t *own;
    int max = configured_max(ap_conftree);

    apr_pool_create_unmanaged_ex(&own, NULL, NULL);
    apr_pool_tag(own, "mpx_db_pool");
    p = apr_pcalloc(own, sizeof *p);
    p->pool = own;
    p->server = s;
    p->max = max > 0 ? max : DBD_MAX_DEFAULT;
    if (p->max > POOL_MAX) {
        p->max = POOL_MAX;
    }
    p->source.borrow = pool_borrow;
    p->source.give_back = pool_give_back;
    p->source.alive = pool_alive;
    p->source.log = pool_log;
    p->source.statement_timeout = STATEMENT_TIMEOUT;
    if (apr_thread_mutex_create(&p->mutex, APR_THREAD_MUTEX_DEFAULT, own) != APR_SUCCESS
        || apr_thread_cond_create(&p->available, own) != APR_SUCCESS
        || apr_thread_cond_create(&p->wanted, own) != APR_SUCCESS
        || ap_thread_create(&p->opener, NULL, opener_main, p, own) != APR_SUCCESS
        || ap_thread_create(&p->pulse, NULL, pulse_main, p, own) != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_CRIT, 0, s, "the threads of the database pool cannot be started");
        return;
    }
    /* mod_dbd's pool lives in a child of pchild, which is destroyed before pchild's cleanups run: only a pre-cleanup hands
     * connections back in time. With one still out, apr_reslist aborts the process. */
    apr_pool_pre_cleanup_register(pchild, p, pool_stop);
    db_pool = p;
}

/* Before child_init (in the parent) there is no database to be had. */
static apr_status_t no_borrow(mpx_db_source_t *self, apr_pool_t *pool, mpx_db_t **db)
{
    return APR_EGENERAL;
}

mpx_db_source_t *core_db_source(void)
{
    static mpx_db_source_t none = { no_borrow, NULL, NULL, NULL, STATEMENT_TIMEOUT };
    return db_pool ? &db_pool->source : &none;
}

int mpx_database_down(void)
{
    return db_pool == NULL || db_pool->down;
}

/* --- Notifications --------------------------------------------------------------------------------------------------------- */

static listener_t *listener_of(db_pool_t *p, const char *channel)
{
    listener_t *l;
    lock(p);
    for (l = listeners; l && strcmp(l->channel, channel) != 0; l = l->next) {
    }
    if (l == NULL) {
        apr_pool_t *own;
        apr_pool_create_unmanaged_ex(&own, NULL, NULL);
        l = apr_pcalloc(own, sizeof *l);
        l->pool = own;
        l->channel = apr_pstrdup(own, channel);
        l->next = listeners;
        listeners = l;
    }
    unlock(p);
    return l;
}

/* Behind a pooler that lends a server's session for one transaction, LISTEN succeeds and nothing is ever heard: better
 * not to listen, and to say so. */
static apr_status_t listener_connect(db_pool_t *p, listener_t *l, apr_pool_t *scratch)
{
    core_db_wait_t wait = { PULSE_DEADLINE, NULL };
    core_db_error_t error;
    apr_time_t now = apr_time_now();

    if (l->pooled && now - l->pooled < POOLED_RECHECK) {
        return APR_ENOTIMPL;
    }
    apr_pool_create(&l->db_pool, l->pool);
    l->db = extra_connection(p, l->db_pool);
    if (l->db && !core_db_is_direct(l->db, scratch, &wait)) {
        int answered = answers(l->db, scratch);
        if (answered && l->pooled == 0) {
            ap_log_error(
                APLOG_MARK, APLOG_NOTICE, 0, p->server,
                "database: a connection pooler stands in between, and LISTEN does not reach through it: changes made "
                "by other nodes are asked for every second instead of being told");
        }
        l->pooled = answered ? now : l->pooled;
        listener_close(l);
        return answered ? APR_ENOTIMPL : APR_EGENERAL;
    }
    if (l->db == NULL
        || core_db_script(l->db, scratch, &wait, apr_pstrcat(scratch, "LISTEN ", l->channel, NULL), &error) != CORE_DB_OK) {
        listener_close(l);
        return APR_EGENERAL;
    }
    l->pooled = 0;
    l->checked = apr_time_now();
    return APR_SUCCESS;
}

static apr_status_t listen_wait(db_pool_t *p, mpx_job_t *job, const char *channel, apr_interval_time_t timeout,
                                mpx_listen_fn *fn, void *baton, int *reconnected)
{
    listener_t *l = listener_of(p, channel);

    if (l->db == NULL) {
        apr_status_t rv = listener_connect(p, l, job->pool);
        if (rv != APR_SUCCESS) {
            return rv;
        }
        *reconnected = 1;
    }
    /* A connection can be lost without a sign (a cut route): ask for one twice a second. */
    if (core_db_notifications(l->db, timeout, fn, baton) < 0
        || (apr_time_now() - l->checked > apr_time_from_msec(500) && !answers(l->db, job->pool))) {
        listener_close(l);
        return APR_EGENERAL;
    }
    if (apr_time_now() - l->checked > apr_time_from_msec(500)) {
        l->checked = apr_time_now();
    }
    return APR_SUCCESS;
}

apr_status_t mpx_listen_wait(mpx_job_t *job, const char *channel, apr_interval_time_t timeout, mpx_listen_fn *fn,
                             void *baton, int *reconnected)
{
    db_pool_t *p = db_pool;

    *reconnected = 0;
    if (p == NULL) {
        return APR_EGENERAL;
    }
    return p->stopping ? APR_EGENERAL : listen_wait(p, job, channel, timeout, fn, baton, reconnected);
}
