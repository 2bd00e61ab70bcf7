/* core_db_pool.c: the server's connection source: mod_dbd's pool with bounded waits.
 *
 * mod_dbd has no time limit for acquiring a connection, opens new ones while it holds the pool's lock, and a connect to a
 * host that does not answer takes connect_timeout (2 s at the least). So request threads never call it: one thread in each
 * child, the opener, takes connections from mod_dbd and returns them; request threads borrow from the short list that it
 * keeps, with a deadline, and give back in microseconds. A second thread, the pulse, asks the server for a sign of life
 * on a connection of its own while statements are waited for. When it fails, every waiting request ends at once and new
 * ones are refused at once, until the pulse is felt again and the opener has got a connection: a server that answers and
 * has no room for us is as good as away. So the API answers within a second whatever the database does, while a slow
 * statement on a healthy database may take its time.
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
#define PULSE_DEADLINE apr_time_from_msec(400)
#define CONNECT_DEADLINE apr_time_from_sec(2) /* a connection takes several round trips, and the database may be far away */
/* what is enough where the database is far away, in round trips: */
#define PULSE_TRIPS 2
#define BORROW_TRIPS 5 /* the opener may have to make a connection */
#define CONNECT_TRIPS 8
#define TRIP_SMOOTHING 4                   /* a new one counts for a quarter */
#define OPEN_PAUSE apr_time_from_msec(100) /* after a connection that could not be had */
#define MORE_PAUSE apr_time_from_sec(1)    /* the same where there are others */
#define STOP_PATIENCE apr_time_from_sec(1) /* for transactions that run when a child ends */
#define SETTLING apr_time_from_sec(5)      /* after trouble: connections are made, the server recovers */
#define QUIET_TURNS 5                      /* while nothing is asked of the database, the pulse is taken once a second */
#define IDLE_KEEP apr_time_from_sec(60)
#define PULSE_NAME "meterplex pulse"      /* what an administrator sees in pg_stat_activity */
#define VERDICT_WAIT apr_time_from_sec(3) /* for a pulse that says: there, or away; it says so within far less */
#define STATEMENT_TIMEOUT apr_time_from_sec(30)
#define POOL_MAX 64
#define KINDS 32                        /* of failures that are told apart in the log */
#define TELL_EVERY apr_time_from_sec(1) /* one of each */
#define DBD_MAX_DEFAULT 10              /* mod_dbd's own default of DBDMax */
#define CONNECT_TIMEOUT "2"             /* s, the least that libpq takes; for mod_dbd's connections where nobody has said */

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

typedef struct db_pool {
    mpx_db_source_t source; /* first: what requests see */
    server_rec *server;
    apr_pool_t *pool; /* of this child, with an allocator of its own: used under the mutex only */
    apr_thread_mutex_t *mutex;
    apr_thread_cond_t *available, *wanted;
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
    apr_time_t trouble; /* when the database last went or came; 0: never */
    apr_time_t felt;    /* when the last pulse that was felt had been asked for */
    apr_time_t looking; /* since when the pulse is at it; 0: it is not */
    int doubting;       /* how many wait for the next one: see mpx_database_answers() */
    told_t told[KINDS];
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

static mpx_metric_t metric_up = -1;   /* shared: what the child that looked last has seen */
static mpx_metric_t metric_trip = -1; /* shared: round trips to PostgreSQL, smoothed; 0: not known */

void core_db_metrics_open(void)
{
    metric_up = mpx_metric_gauge("meterplex_database_up", "1 while PostgreSQL answers, as the child that looked last "
                                                          "has seen it.",
                                 NULL);
    metric_trip = mpx_metric_gauge_seconds("meterplex_database_round_trip_seconds",
                                           "Time that PostgreSQL takes to answer the simplest statement, smoothed.", NULL);
    mpx_metric_set(metric_up, 1); /* until somebody has looked */
}

int core_db_seen_down(void)
{
    return mpx_database_down() || (metric_up >= 0 && mpx_metric_value(metric_up) == 0);
}

apr_interval_time_t core_db_round_trip(void)
{
    return metric_trip >= 0 ? mpx_metric_value(metric_trip) : 0;
}

int core_db_alone_down(void)
{
    return mpx_database_down() && mpx_metric_value(metric_up) == 1;
}

/* Any thread; not under the mutex. */
static void set_down(db_pool_t *p, int down, const char *why)
{
    lock(p);
    if (p->down != down && !(p->stopping && !down)) { /* who ends has told its jobs so for good */
        mpx_metric_set(metric_up, !down);
        p->down = down;
        p->proof = 0;
        __atomic_store_n(&p->trouble, mpx_monotonic(), __ATOMIC_RELAXED);
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

/* A time that is enough for a database that is near, or so many round trips. These are of the whole node, so that a child
 * that has just begun knows what is far and what hangs; and of each answer to a pulse, so that one bad moment is forgotten.
 * @return at most CONNECT_DEADLINE */
static apr_interval_time_t stretched(apr_interval_time_t enough, int trips)
{
    apr_interval_time_t far = mpx_metric_value(metric_trip) * trips;

    far = far < CONNECT_DEADLINE ? far : CONNECT_DEADLINE;
    return far > enough ? far : enough;
}

/* Children that do so at once may lose one of the two; the next comes within a second. */
static void note_trip(apr_interval_time_t took)
{
    apr_interval_time_t old = mpx_metric_value(metric_trip);

    mpx_metric_set(metric_trip, old ? old + (took - old) / TRIP_SMOOTHING : took > 0 ? took
                                                                                     : 1);
}

/* As far as nobody knows, and while the database is looked for, it may be far away. */
static apr_interval_time_t connect_deadline(const db_pool_t *p)
{
    int known = !p->down && mpx_metric_value(metric_trip) != 0;

    return known ? stretched(PULSE_DEADLINE, CONNECT_TRIPS) : CONNECT_DEADLINE;
}

/* A name server that says nothing holds up libpq's connect for as long as the resolver likes, the pulse with it: then
 * whoever waits for a connection in vain is the one to say so. It is back by the pulse's own word.
 * Any thread; not under the mutex. */
static void look_at_the_pulse(db_pool_t *p)
{
    apr_time_t since = __atomic_load_n(&p->looking, __ATOMIC_RELAXED);

    /* by its own deadlines it asks the old connection, makes a new one, and asks that */
    if (since
        && mpx_monotonic() - since
            > 2 * stretched(PULSE_DEADLINE, PULSE_TRIPS) + connect_deadline(p) + PULSE_INTERVAL) {
        set_down(p, 1, "looking for it has not come to an end: does the name server answer?");
    }
}

/* --- What requests call ------------------------------------------------------------------------------------------------ */

static apr_status_t pool_borrow(mpx_db_source_t *self, apr_pool_t *pool, mpx_db_t **out)
{
    db_pool_t *p = (db_pool_t *)self;
    apr_time_t deadline = mpx_monotonic() + stretched(BORROW_WAIT, BORROW_TRIPS);
    apr_status_t rv = APR_SUCCESS;

    lock(p);
    for (;;) {
        apr_interval_time_t left = deadline - mpx_monotonic();
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
            unlock(p);
            look_at_the_pulse(p);
            return p->down ? APR_EGENERAL : APR_TIMEUP;
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
    p->last_ok = mpx_monotonic();
    p->idle[p->nidle].db = db;
    p->idle[p->nidle++].since = p->last_ok;
    apr_thread_cond_signal(p->available);
    unlock(p);
}

static int pool_alive(mpx_db_source_t *self)
{
    return !((db_pool_t *)self)->down;
}

/* What a database that refuses makes of each request is one line a second for each kind, and how many there were. */
static void pool_log(mpx_db_source_t *self, int severity, const char *kind, const char *message)
{
    db_pool_t *p = (db_pool_t *)self;
    apr_time_t now = mpx_monotonic();
    told_t *told = NULL;
    unsigned long unsaid = 0;
    int i;

    lock(p);
    for (i = 0; i < KINDS && told == NULL; i++) {
        if (p->told[i].kind[0] == '\0' || strcmp(p->told[i].kind, kind) == 0) {
            told = &p->told[i];
        }
    }
    if (told && now - told->at < TELL_EVERY && told->kind[0]) {
        told->unsaid++;
        unlock(p);
        return;
    }
    if (told) {
        apr_cpystrn(told->kind, kind, sizeof told->kind);
        told->at = now;
        unsaid = told->unsaid;
        told->unsaid = 0;
    }
    unlock(p);
    if (unsaid) {
        ap_log_error(APLOG_MARK, severity, 0, p->server, "%s (and %lu more of %s since the last line)", message, unsaid,
                     kind);
    }
    else {
        ap_log_error(APLOG_MARK, severity, 0, p->server, "%s", message);
    }
}

/* --- The opener ---------------------------------------------------------------------------------------------------------- */

/* For waits that are no request's: on whether the database is there they must not depend. */
static int until_the_end(mpx_db_source_t *self)
{
    return !core_db_stopping();
}

static mpx_db_source_t unconcerned = { NULL, NULL, until_the_end, NULL, STATEMENT_TIMEOUT };

core_db_wait_t core_db_brief(void)
{
    core_db_wait_t wait = { stretched(PULSE_DEADLINE, PULSE_TRIPS), &unconcerned };
    return wait;
}

static int answers_to(mpx_db_t *db, apr_pool_t *pool, const char *sql)
{
    core_db_wait_t wait = core_db_brief();
    apr_time_t begun = mpx_monotonic();
    core_db_error_t error;

    if (core_db_script(db, pool, &wait, sql, &error) != CORE_DB_OK) {
        return 0;
    }
    note_trip(mpx_monotonic() - begun);
    return 1;
}

int core_db_answers(mpx_db_t *db, apr_pool_t *pool)
{
    return answers_to(db, pool, "SELECT 1");
}

/* How many connections there are that somebody uses or can use. */
static int count_usable(db_pool_t *p)
{
    int i, n;

    lock(p);
    n = p->borrowed;
    for (i = 0; i < p->nidle; i++) {
        n += core_db_usable(p->idle[i].db);
    }
    unlock(p);
    return n;
}

/* Take one more connection from mod_dbd. Blocks for as long as libpq's connect does. */
static void open_one(db_pool_t *p, apr_pool_t *scratch)
{
    ap_dbd_t *dbd = dbd_open(scratch, p->server);
    void *native = dbd ? apr_dbd_native_handle(dbd->driver, dbd->handle) : NULL;
    mpx_db_t *db;

    if (native == NULL) {
        lock(p);
        p->refused = mpx_monotonic();
        unlock(p);
        /* idle ones may have been closed, unnoticed as yet */
        if (count_usable(p) == 0 && mpx_monotonic() - p->last_ok > PULSE_INTERVAL) {
            set_down(p, 1, "no connection can be made");
        }
        return;
    }
    lock(p);
    db = core_db_adopt(dbd->pool, native, dbd);
    p->refused = 0;
    p->proof = p->proof && p->down; /* there it is; who comes back by it ends it in set_down() */
    p->open++;
    p->idle[p->nidle].db = db;
    p->idle[p->nidle++].since = mpx_monotonic();
    apr_thread_cond_signal(p->available);
    unlock(p);
}

/* There is a pulse again: with a connection, the database is back. One that was given back in order since does as well. */
static void come_back(db_pool_t *p, apr_pool_t *scratch)
{
    if (p->nidle == 0) {
        open_one(p, scratch);
    }
    if (p->nidle > 0) {
        set_down(p, 0, "it answers");
    }
}

static void close_unused(db_pool_t *p)
{
    mpx_db_t *db = NULL;
    lock(p);
    if (p->nidle > 1 && p->idle[0].since < mpx_monotonic() - IDLE_KEEP) {
        db = p->idle[0].db;
        memmove(p->idle, p->idle + 1, (apr_size_t)--p->nidle * sizeof *p->idle);
        p->open--;
    }
    unlock(p);
    if (db) {
        hand_back(p, db);
    }
}

/* Under the mutex: is a connection wanted that there might be? */
static int is_needed(const db_pool_t *p)
{
    return p->down ? p->proof && (p->nidle > 0 || p->open < p->max)
                   : (p->proof || p->waiting > p->nidle) && p->open < p->max;
}

/* Under the mutex: until mod_dbd may be asked again, which writes two lines at each failure. The pause is long only while
 * there are others. */
static apr_interval_time_t pause_left(const db_pool_t *p)
{
    return p->refused ? p->refused + (p->open > 0 ? MORE_PAUSE : OPEN_PAUSE) - mpx_monotonic() : 0;
}

static void *APR_THREAD_FUNC opener_main(apr_thread_t *thread, void *data)
{
    db_pool_t *p = data;
    apr_pool_t *scratch;

    apr_pool_create_unmanaged_ex(&scratch, NULL, NULL);
    lock(p);
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
        unlock(p);
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
        lock(p);
    }
    unlock(p);
    apr_pool_destroy(scratch);
    return NULL;
}

/* --- The pulse ------------------------------------------------------------------------------------------------------------- */

static void heart_set(db_pool_t *p, mpx_db_t *heart, apr_pool_t *own)
{
    mpx_db_t *old = p->heart;
    apr_pool_t *old_pool = p->heart_pool;

    lock(p);
    p->heart = heart;
    p->heart_pool = own;
    unlock(p);
    if (old) {
        core_db_close(old);
        apr_pool_destroy(old_pool);
    }
}

typedef enum pulse { NO_PULSE,
                     PULSE,
                     NO_ROOM } pulse_e; /* NO_ROOM: the server is there and takes no more connections */

static mpx_db_t *connect_one(db_pool_t *p, apr_pool_t *pool, const char **error, int *full)
{
    core_db_wait_t wait = { connect_deadline(p), &unconcerned };

    return core_db_connect_params(pool, p->params, &wait, error, full);
}

/* Make the heart, or replace one that has stopped. It needs none of mod_dbd's connections: those may all be in use,
 * by the very requests that hang.
 * @param why  set when there is no pulse */
static pulse_e heart_make(db_pool_t *p, apr_pool_t *scratch, const char **why)
{
    apr_pool_t *own;
    mpx_db_t *fresh;
    const char *error;
    int full;

    apr_pool_create_unmanaged_ex(&own, NULL, NULL); /* gone with it, or with the failure to make it */
    fresh = connect_one(p, own, &error, &full);
    if (fresh == NULL) {
        *why = apr_pstrdup(scratch, error);
        apr_pool_destroy(own);
    }
    heart_set(p, fresh, fresh ? own : NULL);
    if (fresh && answers_to(fresh, scratch, "SET application_name = '" PULSE_NAME "'")) {
        return PULSE;
    }
    return full ? NO_ROOM : NO_PULSE;
}

/* A connection that was closed under us (an administrator ended it, a server restarted in between) says nothing of the
 * database yet: it is made anew once. One that is silent to the deadline has said enough. */
static pulse_e feel(db_pool_t *p, apr_pool_t *scratch, const char **why)
{
    apr_time_t begun = mpx_monotonic();

    if (p->heart && core_db_usable(p->heart)) {
        if (core_db_answers(p->heart, scratch)) {
            return PULSE;
        }
        if (mpx_monotonic() - begun > stretched(PULSE_DEADLINE, PULSE_TRIPS) / 2) {
            return NO_PULSE;
        }
    }
    return heart_make(p, scratch, why);
}

/* A server that has no room for a pulse says that it is there: that is enough for who has connections to it. */
static pulse_e look(db_pool_t *p, apr_pool_t *scratch, const char **why)
{
    pulse_e pulse = feel(p, scratch, why);
    return pulse == NO_ROOM && count_usable(p) == 0 ? NO_PULSE : pulse;
}

/* Whoever has seen the database away may not be there any more. Against that stands who has a connection, or gets one. */
static void speak_up(db_pool_t *p)
{
    lock(p);
    if (p->open > 0 && !p->down) {
        mpx_metric_set(metric_up, 1);
    }
    else if (mpx_metric_value(metric_up) == 0) {
        p->proof = 1;
        apr_thread_cond_signal(p->wanted);
    }
    unlock(p);
}

static void note_felt(db_pool_t *p, apr_time_t begun)
{
    lock(p);
    p->felt = begun;
    if (p->doubting > 0) {
        apr_thread_cond_broadcast(p->available);
    }
    unlock(p);
}

/* What the pulse says while the database is down. */
static void look_for(db_pool_t *p, apr_pool_t *scratch)
{
    const char *why;
    int found;

    if (!p->proof) {
        discard_idle(p);
    }
    found = feel(p, scratch, &why) == PULSE;
    lock(p);
    p->proof = found && p->down;
    apr_thread_cond_signal(p->wanted);
    unlock(p);
}

static void *APR_THREAD_FUNC pulse_main(apr_thread_t *thread, void *data)
{
    db_pool_t *p = data;
    apr_pool_t *scratch;
    pulse_e pulse = PULSE;
    apr_time_t begun = 0;
    unsigned turn;

    apr_pool_create_unmanaged_ex(&scratch, NULL, NULL);
    for (turn = 0; !p->stopping; turn++) {
        int awaited = p->borrowed > 0 || p->waiting > 0 || p->doubting > 0;
        if (p->down) {
            look_for(p, scratch);
        }
        else if ((awaited && pulse != NO_ROOM) || turn % QUIET_TURNS == 0) {
            const char *why = "no sign of life";
            begun = mpx_monotonic();
            __atomic_store_n(&p->looking, begun, __ATOMIC_RELAXED);
            pulse = look(p, scratch, &why);
            __atomic_store_n(&p->looking, 0, __ATOMIC_RELAXED);
            if (pulse != NO_PULSE) {
                note_felt(p, begun);
                speak_up(p);
            }
            /* A pulse that fails while statements succeed is about its own connection. */
            else if (p->last_ok < begun) {
                set_down(p, 1, why);
            }
        }
        apr_pool_clear(scratch);
        if (p->down || pulse != NO_PULSE || mpx_monotonic() - begun < PULSE_INTERVAL) {
            apr_sleep(PULSE_INTERVAL); /* else it has been waited for long enough */
        }
    }
    apr_pool_destroy(scratch);
    return NULL;
}

/* --- Start and end ------------------------------------------------------------------------------------------------------------ */

/* Wait until everything that was borrowed is back. @param longest microseconds; below 0: without end */
static void await_returns(db_pool_t *p, apr_interval_time_t longest)
{
    apr_time_t deadline = mpx_monotonic() + longest;

    lock(p);
    while (p->borrowed > 0 && (longest < 0 || mpx_monotonic() < deadline)) {
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
    apr_time_t begun = mpx_monotonic();

    lock(p);
    p->stopping = 1;
    apr_thread_cond_broadcast(p->wanted);
    apr_thread_cond_broadcast(p->available);
    unlock(p);
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
    return APR_SUCCESS;
}

/* The last value of a directive of mod_dbd's outside of sections, as it stands; NULL when there is none. */
static const char *configured_args(const ap_directive_t *d, const char *name)
{
    const char *value = NULL;
    for (; d; d = d->next) {
        if (ap_cstr_casecmp(d->directive, name) == 0) {
            value = d->args;
        }
        else if (d->first_child && d->directive[0] == '<' && ap_cstr_casecmpn(d->directive, "<If", 3) == 0) {
            const char *inside = configured_args(d->first_child, name);
            value = inside ? inside : value;
        }
    }
    return value;
}

/* Its first word, without quotes. */
static const char *configured(apr_pool_t *pool, const char *name)
{
    const char *args = configured_args(ap_conftree, name);
    return args ? ap_getword_conf(pool, &args) : NULL;
}

int core_db_check(apr_pool_t *ptemp, server_rec *s)
{
    const char *driver = configured(ptemp, "DBDriver"), *conninfo = configured(ptemp, "DBDParams"), *error = NULL;

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
    if (conninfo == NULL || core_db_params(ptemp, conninfo, &error) == NULL) {
        ap_log_error(APLOG_MARK, APLOG_STARTUP | APLOG_EMERG, 0, s,
                     "Meterplex needs DBDParams, a connection string of PostgreSQL such as \"host=/run/postgresql "
                     "dbname=meterplex user=meterplex\"; it %s%s",
                     conninfo ? "cannot be read: " : "is not set", conninfo ? error : "");
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    /* libpq's own is to wait without end: for a host that is silent a child would, at its start or in its opener. What the
     * connection string says goes before the environment. */
    setenv("PGCONNECT_TIMEOUT", CONNECT_TIMEOUT, 0);
    return OK;
}

void core_db_child_init(apr_pool_t *pchild, server_rec *s)
{
    db_pool_t *p;
    apr_pool_t *own;
    const char *text, *conninfo, *error = NULL;
    int max;

    apr_pool_create_unmanaged_ex(&own, NULL, NULL);
    text = configured(own, "DBDMax");
    max = text ? (int)strtol(text, NULL, 10) : 0;
    conninfo = configured(own, "DBDParams");
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
    p->params = conninfo ? core_db_params(own, conninfo, &error) : NULL;
    if (p->params == NULL || apr_thread_mutex_create(&p->mutex, APR_THREAD_MUTEX_DEFAULT, own) != APR_SUCCESS
        || apr_thread_cond_create(&p->available, own) != APR_SUCCESS
        || apr_thread_cond_create(&p->wanted, own) != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_CRIT, 0, s, "the database pool cannot be made: %s", error ? error : "no mutex");
        return;
    }
    /* mod_dbd's pool lives in a child of pchild, which is destroyed before pchild's cleanups run: only a pre-cleanup hands
     * connections back in time. With one still out, apr_reslist aborts the process. */
    apr_pool_pre_cleanup_register(pchild, p, pool_stop);
    db_pool = p; /* its threads ask whether it stops */
    if (ap_thread_create(&p->opener, NULL, opener_main, p, own) != APR_SUCCESS
        || ap_thread_create(&p->pulse, NULL, pulse_main, p, own) != APR_SUCCESS) {
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
    return db_pool ? &db_pool->source : &none;
}

int core_db_stopping(void)
{
    return db_pool == NULL || db_pool->stopping;
}

mpx_db_t *core_db_extra(apr_pool_t *pool)
{
    const char *error;
    int full;
    return connect_one(db_pool, pool, &error, &full);
}

void core_db_lock(void)
{
    lock(db_pool);
}

void core_db_unlock(void)
{
    unlock(db_pool);
}

int mpx_database_down(void)
{
    return db_pool == NULL || db_pool->down;
}

int mpx_database_answers(apr_time_t since)
{
    db_pool_t *p = db_pool;
    apr_time_t deadline = mpx_monotonic() + VERDICT_WAIT;
    int answers;

    if (p == NULL) {
        return 0;
    }
    lock(p);
    p->doubting++;
    while (!(answers = p->felt >= since || p->last_ok >= since) && !p->down && !p->stopping && mpx_monotonic() < deadline) {
        apr_thread_cond_timedwait(p->available, p->mutex, deadline - mpx_monotonic());
    }
    p->doubting--;
    answers = answers || !p->down;
    unlock(p);
    return answers;
}

int mpx_database_unsettled(void)
{
    apr_time_t trouble = db_pool ? __atomic_load_n(&db_pool->trouble, __ATOMIC_RELAXED) : 0;

    return mpx_database_down() || (trouble && mpx_monotonic() - trouble < SETTLING);
}
