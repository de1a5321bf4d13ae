/* A star over TCP on one host, with nothing but sockets and additions.
 *
 * A round: the coordinator sends the state to every worker. Each worker receives all of it, adds 1
 * to every value, and sends the result back. The coordinator computes the mean of all results,
 * which is the next state. Sums are in the order of the workers.
 *
 * Usage: star WORKERS BYTES ROUNDS
 * Prints the milliseconds of each round, one per line.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MOST_WORKERS = 64, BLOCK = 4096 };

static size_t workers, values, rounds;
static float *state, *results[MOST_WORKERS];
static int sockets[MOST_WORKERS];
static pthread_barrier_t barrier;

static void die(const char *what)
{
    fprintf(stderr, "star: %s: %s\n", what, strerror(errno));
    exit(1);
}

static size_t number(const char *text, size_t most, const char *name)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno || *end || end == text || value < 1 || value > most) {
        fprintf(stderr, "star: %s: expected 1 to %zu, found %s\n", name, most, text);
        exit(2);
    }
    return (size_t)value;
}

static float *vector(void)
{
    float *found = malloc(values * sizeof(float));
    if (!found)
        die("memory");
    /* Written once, so that no round waits for the system to provide pages. */
    for (size_t i = 0; i < values; i++)
        found[i] = (float)(i % 1000);
    return found;
}

static void send_all(int socket, const float *from)
{
    const char *at = (const char *)from, *end = (const char *)(from + values);
    while (at < end) {
        ssize_t sent = send(socket, at, (size_t)(end - at), MSG_NOSIGNAL);
        if (sent < 0 && errno != EINTR)
            die("send");
        at += sent > 0 ? sent : 0;
    }
}

static void receive_all(int socket, float *into)
{
    char *at = (char *)into, *end = (char *)(into + values);
    while (at < end) {
        ssize_t got = recv(socket, at, (size_t)(end - at), 0);
        if (got == 0) {
            errno = ECONNRESET;
            die("receive");
        }
        if (got < 0 && errno != EINTR)
            die("receive");
        at += got > 0 ? got : 0;
    }
}

static void set_no_delay(int socket)
{
    int on = 1;
    if (setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0)
        die("TCP_NODELAY");
}

static void work(struct sockaddr_in address)
{
    int coordinator = socket(AF_INET, SOCK_STREAM, 0);
    if (coordinator < 0 || connect(coordinator, (struct sockaddr *)&address, sizeof address) < 0)
        die("connect");
    set_no_delay(coordinator);
    float *own = vector();
    for (size_t round = 0; round < rounds; round++) {
        receive_all(coordinator, own);
        for (size_t i = 0; i < values; i++)
            own[i] += 1;
        send_all(coordinator, own);
    }
    exit(0);
}

/* The share of the mean of one thread of the coordinator. */
static void mean(size_t from, size_t to)
{
    float share = 1.0f / (float)workers;
    for (size_t block = from; block < to; block += BLOCK) {
        size_t end = block + BLOCK < to ? block + BLOCK : to;
        memcpy(state + block, results[0] + block, (end - block) * sizeof(float));
        for (size_t w = 1; w < workers; w++)
            for (size_t i = block; i < end; i++)
                state[i] += results[w][i];
        for (size_t i = block; i < end; i++)
            state[i] *= share;
    }
}

static double now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

/* One thread of the coordinator for each worker. The first one measures. */
static void *serve(void *argument)
{
    size_t me = (size_t)argument;
    for (size_t round = 0; round < rounds; round++) {
        double start = now_ms();
        send_all(sockets[me], state);
        receive_all(sockets[me], results[me]);
        pthread_barrier_wait(&barrier);
        mean(values * me / workers, values * (me + 1) / workers);
        pthread_barrier_wait(&barrier);
        if (me == 0)
            printf("%.6f\n", now_ms() - start);
    }
    return NULL;
}

int main(int count, char **arguments)
{
    if (count != 4) {
        fprintf(stderr, "usage: star WORKERS BYTES ROUNDS\n");
        return 2;
    }
    workers = number(arguments[1], MOST_WORKERS, "WORKERS");
    values = number(arguments[2], (size_t)1 << 34, "BYTES") / sizeof(float);
    rounds = number(arguments[3], (size_t)1 << 32, "ROUNDS");

    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, length) < 0 ||
        getsockname(listener, (struct sockaddr *)&address, &length) < 0 ||
        listen(listener, MOST_WORKERS) < 0)
        die("listen");
    for (size_t w = 0; w < workers; w++) {
        pid_t child = fork();
        if (child < 0)
            die("fork");
        if (child == 0)
            work(address);
    }
    state = vector();
    for (size_t w = 0; w < workers; w++) {
        if ((sockets[w] = accept(listener, NULL, NULL)) < 0)
            die("accept");
        set_no_delay(sockets[w]);
        results[w] = vector();
    }

    pthread_t threads[MOST_WORKERS];
    pthread_barrier_init(&barrier, NULL, (unsigned)workers);
    for (size_t w = 1; w < workers; w++)
        if ((errno = pthread_create(&threads[w], NULL, serve, (void *)w)))
            die("thread");
    serve((void *)0);
    for (size_t w = 1; w < workers; w++)
        pthread_join(threads[w], NULL);
    int status, failed = 0;
    for (size_t w = 0; w < workers; w++)
        if (wait(&status) > 0)
            failed |= status;
    return failed != 0;
}
