/* Rounds of MPI's allreduce: every rank gets the sum of what all ranks have, in float32.
 *
 * Usage: mpirun -n WORKERS allreduce_mpi BYTES ROUNDS
 * The first rank prints the milliseconds of each round, one per line.
 */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

/* Written once, so that no round waits for the system to provide pages. */
static float *vector(int values)
{
    float *found = malloc((size_t)values * sizeof(float));
    if (!found) {
        fprintf(stderr, "allreduce_mpi: there is no memory for %d values\n", values);
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
    for (int i = 0; i < values; i++)
        found[i] = (float)(i % 1000);
    return found;
}

int main(int count, char **arguments)
{
    MPI_Init(&count, &arguments);
    int rank, values = count == 3 ? (int)(atoll(arguments[1]) / 4) : 0;
    long rounds = count == 3 ? atol(arguments[2]) : 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    if (values < 1 || rounds < 1) {
        fprintf(stderr, "usage: mpirun -n WORKERS allreduce_mpi BYTES ROUNDS\n");
        MPI_Abort(MPI_COMM_WORLD, 2);
    }
    float *result = vector(values), *sum = vector(values);
    MPI_Barrier(MPI_COMM_WORLD);
    for (long round = 0; round < rounds; round++) {
        double start = MPI_Wtime();
        MPI_Allreduce(result, sum, values, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
        if (rank == 0)
            printf("%.6f\n", (MPI_Wtime() - start) * 1e3);
    }
    MPI_Finalize();
    return 0;
}
