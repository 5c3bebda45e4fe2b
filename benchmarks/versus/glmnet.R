# One fit of glmnet: sparse_peers.py writes the data and the task into a folder, and reads back how
# many seconds glmnet() took, for how many values of lambda it converged, and the last coefficients.
suppressPackageStartupMessages({
  library(glmnet)
  library(Matrix)
})
folder <- commandArgs(TRUE)[1]
numbers <- function(name, what, n) readBin(file.path(folder, name), what, n)

source(file.path(folder, "task.R")) # n, d, entries, and the arguments of glmnet
if (is.na(entries)) {
  X <- matrix(numbers("data", "double", n * d), n, d)
} else {
  X <- new(
    "dgCMatrix",
    Dim = c(n, d), x = numbers("data", "double", entries),
    i = numbers("indices", "integer", entries), p = numbers("indptr", "integer", d + 1L)
  )
}
y <- numbers("labels", "integer", n)

glmnet.control(fdev = 0, devmax = 1) # no value of lambda is left out
seconds <- system.time(fit <- glmnet(
  X, y,
  family = family, alpha = alpha, lambda = lambda, standardize = FALSE, thresh = thresh,
  maxit = 1e9, lower.limits = lower, type.logistic = type_logistic,
  type.multinomial = type_multinomial
))[["elapsed"]]

last <- length(fit$lambda)
coef <- matrix(0, 0, d + 1)
if (last > 0) {
  if (family == "binomial") {
    coef <- c(fit$a0[last], as.numeric(fit$beta[, last]))
  } else {
    coef <- t(sapply(fit$beta, function(beta) as.numeric(beta[, last])))
    coef <- cbind(fit$a0[, last], coef)
  }
}
writeBin(as.double(coef), file.path(folder, "coef"))
cat(seconds, last, fit$npasses, "\n")
