/* core_db_listen.c: LISTEN for jobs: a connection for each channel, outside mod_dbd's pool, made anew when it is lost. */
#include "core_private.h"

#include "apr_portable.h"
#include "apr_strings.h"

#include "core_db.h"

#define LISTENER_NAME "meterplex listener"   /* what an administrator sees in pg_stat_activity */
#define POOLED_RECHECK apr_time_from_sec(60) /* between two looks whether a pooler still stands in between */
#define CONNECTING apr_time_from_sec(4)      /* to connect, to look for a pooler, to listen */
#define ALIVE_EVERY apr_time_from_msec(150)  /* who listens is told that often that nothing has been missed */

typedef struct listener {
    struct listener *next;
    const char *channel;
    apr_os_thread_t thread; /* its job's in this child: nobody else touches what follows */
    apr_pool_t *pool;
    apr_pool_t *db_pool; /* the connection's own, destroyed with it */
    mpx_db_t *db;
    apr_time_t heard;  /* all that was committed before has been told of */
    apr_time_t pooled; /* when a pooler was found in between; 0: none */
} listener_t;

static listener_t *listeners; /* of this child; each is used by its job's thread only, the list under the lock */

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

void core_db_listeners_close(void)
{
    listener_t *l;

    for (l = listeners; l; l = l->next) {
        listener_close(l);
    }
}

void core_db_listeners_release(void)
{
    apr_os_thread_t self = apr_os_thread_current();
    listener_t *l;

    if (core_db_stopping()) { /* threads of jobs run before there is a pool, and when it ends it closes them all */
        return;
    }
    core_db_lock();
    for (l = listeners; l && !apr_os_thread_equal(l->thread, self); l = l->next) {
    }
    core_db_unlock();
    if (l) { /* a job listens on one channel */
        listener_close(l);
    }
}

static listener_t *listener_of(const char *channel)
{
    listener_t *l;
    core_db_lock();
    for (l = listeners; l && strcmp(l->channel, channel) != 0; l = l->next) {
    }
    if (l == NULL) {
        apr_pool_t *own;
        apr_pool_create_unmanaged_ex(&own, NULL, NULL);
        l = apr_pcalloc(own, sizeof *l);
        l->pool = own;
        l->channel = apr_pstrdup(own, channel);
        l->thread = apr_os_thread_current();
        l->next = listeners;
        listeners = l;
    }
    core_db_unlock();
    return l;
}

/* Behind a pooler that lends a server's session for one transaction, LISTEN succeeds and nothing is ever heard: better
 * not to listen, and to say so. */
static apr_status_t listener_connect(server_rec *s, listener_t *l, apr_pool_t *scratch)
{
    core_db_wait_t wait = core_db_brief();
    const char *listen = apr_pstrcat(scratch, "SET application_name = '" LISTENER_NAME "'; LISTEN ", l->channel, NULL);
    core_db_error_t error;
    apr_time_t now = mpx_monotonic();

    if (l->pooled && now - l->pooled < POOLED_RECHECK) {
        return APR_ENOTIMPL;
    }
    apr_pool_create(&l->db_pool, l->pool);
    l->db = core_db_extra(l->db_pool);
    if (l->db && !core_db_is_direct(l->db, scratch, &wait)) {
        int answered = core_db_answers(l->db, scratch);
        if (answered && l->pooled == 0) {
            ap_log_error(
                APLOG_MARK, APLOG_NOTICE, 0, s,
                "database: a connection pooler stands in between, and LISTEN does not reach through it: changes made "
                "by other nodes are asked for every second instead of being told");
        }
        l->pooled = answered ? now : l->pooled;
        listener_close(l);
        return answered ? APR_ENOTIMPL : APR_EGENERAL;
    }
    now = mpx_monotonic();
    if (l->db == NULL || core_db_script(l->db, scratch, &wait, listen, &error) != CORE_DB_OK) {
        listener_close(l);
        return APR_EGENERAL;
    }
    l->pooled = 0;
    l->heard = now;
    return APR_SUCCESS;
}

static apr_status_t listen_wait(mpx_job_t *job, const char *channel, apr_interval_time_t timeout,
                                mpx_listen_fn *fn, void *baton, int *reconnected, apr_time_t *heard)
{
    apr_time_t now;
    listener_t *l = listener_of(channel);

    if (l->db == NULL) {
        apr_status_t rv;
        core_job_hold(job, CONNECTING);
        rv = listener_connect(job->server, l, job->pool);
        if (rv != APR_SUCCESS) {
            return rv;
        }
        *reconnected = 1;
    }
    /* A connection can be lost without a sign (a cut route), and its server's process may be held up or behind with telling.
     * Before it answers a statement it tells what had been committed when that came. */
    now = mpx_monotonic();
    if (core_db_notifications(l->db, timeout, fn, baton) < 0
        || (now - l->heard > ALIVE_EVERY
            && (!core_db_answers(l->db, job->pool) || core_db_notifications(l->db, 0, fn, baton) < 0))) {
        listener_close(l);
        return APR_EGENERAL;
    }
    if (now - l->heard > ALIVE_EVERY) {
        l->heard = now;
    }
    *heard = l->heard;
    return APR_SUCCESS;
}

apr_status_t mpx_listen_wait(mpx_job_t *job, const char *channel, apr_interval_time_t timeout, mpx_listen_fn *fn,
                             void *baton, int *reconnected, apr_time_t *heard)
{
    *reconnected = 0;
    return core_db_stopping() ? APR_EGENERAL : listen_wait(job, channel, timeout, fn, baton, reconnected, heard);
}
