"""The one matrix of the model that is large: factorised, solved, drawn from, in parts inverted."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from kpairs.judging.judgements import Floats, Judgements, Numbers

_SMALL = 100  # images up to which matrices are dense
_LARGE = 1500  # images from which one dense factorisation takes seconds
_FILL = 3  # judgements per image from which sparse factors fill up, and dense ones are faster
_BLOCK = 512  # columns of an inverse that are in memory together


class Factor:
    """The factorised matrix `C = L + I / su²`, dense or sparse, whichever is faster.

    Args:
        answers: edges of the graph.
        edges: `(m,)` their weights.
        precision: `1 / su²`.

    Attributes:
        laplacian: L, sparse.
        log_determinant: of C.
    """

    def __init__(self, answers: Judgements, edges: Floats, precision: float) -> None:
        from scipy.linalg import cholesky
        from scipy.sparse import identity
        from scipy.sparse.linalg import splu

        self._answers, self._edges, self._precision = answers, edges, precision
        self.laplacian = laplacian(answers, edges)
        self._dense = is_dense(answers)
        if self._dense:
            matrix = self.laplacian.toarray(order="F")
            matrix[np.diag_indices(answers.count)] += self._precision
            self._low = cholesky(matrix, lower=True, overwrite_a=True, check_finite=False)
            self.log_determinant = 2 * float(np.log(np.diag(self._low)).sum())
        else:
            matrix = self.laplacian + self._precision * identity(answers.count)
            # Symmetric and positive definite: no pivots are looked for, so that order stays sparse.
            self._lu = splu(
                matrix.tocsc(),
                permc_spec="MMD_AT_PLUS_A",
                diag_pivot_thresh=0.0,
                options={"SymmetricMode": True},
            )
            self.log_determinant = float(np.log(self._lu.U.diagonal()).sum())

    def schur(self, features: Floats, precision: float) -> tuple[Floats, Floats]:
        """Return the Cholesky factor of S, and `T`, for features F and the precision of w."""
        explained = self.solve(features) * self._precision
        schur = features.T @ (self.laplacian @ explained)
        schur[np.diag_indices(len(schur))] += precision
        return np.linalg.cholesky((schur + schur.T) / 2), explained

    def solve(self, values: Floats) -> Floats:
        """Return `inv(C)` times some columns."""
        from scipy.linalg import cho_solve

        if not values.size:
            return np.zeros(values.shape)
        if self._dense:
            return cho_solve((self._low, True), values, check_finite=False)
        return self._lu.solve(np.ascontiguousarray(values))

    @cached_property
    def _inverse(self) -> Any:
        """The inverse: its lower triangle, or its elements where L has some.

        Of a sparse factor, columns come by blocks, and of each only what is wanted is kept.
        """
        from scipy.linalg.lapack import dpotri

        if self._dense:
            return dpotri(self._low, lower=1)[0]
        found = self.laplacian.tocsc()
        for start in range(0, self._answers.count, _BLOCK):
            columns = np.arange(start, min(start + _BLOCK, self._answers.count))
            unit = np.zeros((self._answers.count, len(columns)))
            unit[columns, np.arange(len(columns))] = 1
            part = slice(found.indptr[columns[0]], found.indptr[columns[-1] + 1])
            place = np.repeat(np.arange(len(columns)), np.diff(found.indptr)[columns])
            found.data[part] = self.solve(unit)[found.indices[part], place]
        return found

    @cached_property
    def diagonal(self) -> Floats:
        """The inverse's diagonal, `(n,)`."""
        return np.array(self._inverse.diagonal())

    def linked(self, left: Numbers, right: Numbers) -> Floats:
        """Return the inverse's elements at pairs of images that some judgement links."""
        return np.asarray(self._inverse[np.maximum(left, right), np.minimum(left, right)]).ravel()

    def block(self, images: Numbers) -> Floats:
        """Return the inverse's rows and columns of some images."""
        unit = np.zeros((self._answers.count, len(images)))
        unit[images, np.arange(len(images))] = 1
        return self.solve(unit)[images]

    def draw(self, count: int, rng: np.random.Generator) -> Floats:
        """Draw `(n, count)` from N(0, inv(C)), by noise whose covariance is C."""
        from scipy.sparse import coo_matrix

        answers = self._answers
        rows, root = np.arange(len(answers)), np.sqrt(self._edges)
        places = np.concatenate([answers.right, answers.left]), np.concatenate([rows, rows])
        shape = (answers.count, len(answers))
        incidence = coo_matrix((np.concatenate([root, -root]), places), shape=shape).tocsr()
        noise = rng.standard_normal((answers.count, count)) * np.sqrt(self._precision)
        for column in range(count):  # all at once would take m x count numbers
            noise[:, column] += incidence @ rng.standard_normal(len(answers))
        return self.solve(noise)


def is_dense(answers: Judgements) -> bool:
    """Tell if dense matrices are faster: of few images, or with many judgements of each."""
    return answers.count <= _SMALL or len(answers) > _FILL * answers.count


def is_large(answers: Judgements) -> bool:
    """Tell if one factorisation takes seconds."""
    return is_dense(answers) and answers.count > _LARGE


def laplacian(answers: Judgements, edges: Floats) -> Any:
    """Return the graph's Laplacian, sparse, by the weight of each judgement."""
    from scipy.sparse import coo_matrix

    left, right, count = answers.left, answers.right, answers.count
    diagonal = np.bincount(left, edges, count) + np.bincount(right, edges, count)
    each = np.arange(count)
    values = np.concatenate([-edges, -edges, diagonal])
    places = np.concatenate([left, right, each]), np.concatenate([right, left, each])
    return coo_matrix((values, places), shape=(count, count)).tocsr()
