/* Which rows of a matrix the units of a Sudoku take together. */
#ifndef TRM_ROWS_UNITS_H
#define TRM_ROWS_UNITS_H

#ifdef __CUDACC__
#define TRM_UNITS static __host__ __device__ __forceinline__
#else
#define TRM_UNITS static inline
#endif

/* Cell i of unit u of a kind: rows 0, columns 1, boxes 2. */
TRM_UNITS int trm_unit_cell(int kind, int u, int i) {
    if (kind == 0)
        return u * 9 + i;
    if (kind == 1)
        return i * 9 + u;
    return (u / 3 * 3 + i / 3) * 9 + u % 3 * 3 + i % 3;
}

TRM_UNITS void trm_unit_cells(int row[9], int kind, int u) {
    for (int i = 0; i < 9; i++)
        row[i] = trm_unit_cell(kind, u, i);
}

/* The candidates of unit u (0..80) of a kind: of a cell 0, of a digit in a row 1, column 2, box 3.
 * Candidate 9 cell + digit - 1. */
TRM_UNITS void trm_unit_candidates(int row[9], int kind, int u) {
    for (int i = 0; i < 9; i++)
        row[i] = kind == 0 ? 9 * u + i : 9 * trm_unit_cell(kind - 1, u / 9, i) + u % 9;
}

#endif
