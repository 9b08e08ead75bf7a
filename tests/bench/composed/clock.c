// The time of day, moved by as many seconds as the file CLOCK_OFFSET says, for programs that it is loaded into before
// all else (LD_PRELOAD). What measures durations goes on as it does when a real clock jumps, and who waits until a
// moment of the moved time waits until it comes. libfaketime 0.9.10 breaks Python's sleep (EINVAL) where it is told
// to leave durations alone.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long offset(void) {
    const char *path = getenv("CLOCK_OFFSET");
    char text[32] = {0};
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return 0;
    ssize_t length = read(file, text, sizeof text - 1);
    close(file);
    return length > 0 ? atol(text) : 0;
}

static int of_day(clockid_t clock) { return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE; }

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, clock, now);
    if (!failed && of_day(clock)) now->tv_sec += offset();
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    (void)zone;
    struct timespec precise;
    int failed = clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return failed;
}

time_t time(time_t *where) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (where) *where = now.tv_sec;
    return now.tv_sec;
}

// A moment of the moved time in the kernel's own. What counts from the machine's start is far smaller than a date.
static struct timespec kernels(const struct timespec *moment) {
    struct timespec moved = *moment;
    if (moved.tv_sec > 1000000000) moved.tv_sec -= offset();
    return moved;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int pthread_cond_timedwait(pthread_cond_t *restrict cond, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict until) {
    struct timespec moved = kernels(until);
    return ((int (*)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *))dlvsym(
        RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2"))(cond, mutex, &moved);
}

int pthread_cond_clockwait(pthread_cond_t *restrict cond, pthread_mutex_t *restrict mutex, clockid_t clock,
                           const struct timespec *restrict until) {
    struct timespec moved = kernels(until);
    return REAL(pthread_cond_clockwait)(cond, mutex, clock, &moved);
}

int pthread_mutex_timedlock(pthread_mutex_t *restrict mutex, const struct timespec *restrict until) {
    struct timespec moved = kernels(until);
    return REAL(pthread_mutex_timedlock)(mutex, &moved);
}

int sem_timedwait(sem_t *restrict sem, const struct timespec *restrict until) {
    struct timespec moved = kernels(until);
    return REAL(sem_timedwait)(sem, &moved);
}

int sem_clockwait(sem_t *restrict sem, clockid_t clock, const struct timespec *restrict until) {
    struct timespec moved = kernels(until);
    return REAL(sem_clockwait)(sem, clock, &moved);
}
