# cv.glmnet: choosing_c_peers.py writes the data and the task into a folder, and reads back the
# median of the seconds, the number of warnings and which lambda was chosen; and from a file the
# coefficients of the first fold for some values of lambda.
suppressPackageStartupMessages(library(glmnet))
folder <- commandArgs(TRUE)[1]
numbers <- function(name, what, n) readBin(file.path(folder, name), what, n)

source(file.path(folder, "task.R")) # n, d, n_lambdas, alpha, looked_at, repeats, quick
X <- matrix(numbers("data", "double", n * d), n, d)
y <- numbers("labels", "integer", n)
folds <- numbers("folds", "integer", n)
lambda <- numbers("lambda", "double", n_lambdas)

seconds <- c()
while (length(seconds) == 0 || (length(seconds) < repeats && sum(seconds) < quick)) {
  n_warnings <- 0
  withCallingHandlers(
    seconds <- c(seconds, system.time(cv <- cv.glmnet(
      X, y,
      family = "multinomial", alpha = alpha, lambda = lambda, foldid = folds,
      type.measure = "deviance", standardize = FALSE
    ))[["elapsed"]]),
    warning = function(condition) {
      n_warnings <<- n_warnings + 1
      invokeRestart("muffleWarning")
    }
  )
}

train <- folds != 1
fit <- glmnet(
  X[train, ], y[train],
  family = "multinomial", alpha = alpha, lambda = lambda, standardize = FALSE
)
coefs <- coef(fit, s = lambda[looked_at]) # a matrix for each class: (1 + d, values of lambda)
coefs <- sapply(seq_along(looked_at), function(i) sapply(coefs, function(coef) coef[, i]))
writeBin(as.double(coefs), file.path(folder, "coef"))
options(digits = 15)
cat(median(seconds), n_warnings, which(cv$lambda == cv$lambda.min), "\n")
