# Fits of R's glmnet for make_reference.py, which writes the files of the folder named as argument.
# Every file *.bin is of float64 numbers, matrices by columns.

suppressMessages(library(glmnet))
folder <- commandArgs(trailingOnly = TRUE)[1]
cases <- read.table(file.path(folder, "cases.tsv"), header = TRUE, stringsAsFactors = FALSE)

path <- function(name) file.path(folder, paste0(name, ".bin"))
get <- function(name) readBin(path(name), "double", n = file.size(path(name)) / 8)
put <- function(values, name) writeBin(as.double(values), path(name))

# the two data sets of the package, which are random numbers
data(MultinomialExample)
data(BinomialExample)
for (name in c("multinomial_example", "binomial_example")) {
  example <- if (name == "multinomial_example") MultinomialExample else BinomialExample
  put(example$x, paste0(name, "_X"))
  put(example$y, paste0(name, "_y"))
}

# the whole path, whatever the deviance; as many steps of Newton's method as it takes
glmnet.control(fdev = 0, devmax = 1, mxitnr = 1000, epsnr = 1e-14)

thresholds <- numeric()
for (i in seq_len(nrow(cases))) {
  case <- cases[i, ]
  y <- get(paste0(case$data, "_y"))
  x <- matrix(get(paste0(case$data, "_X")), nrow = length(y))
  if (case$data == "sparse") x <- Matrix(x, sparse = TRUE)
  fit <- NULL
  # groups converge slowly, and need a smaller threshold to be as near to the minimum; where
  # rounding keeps glmnet from a threshold, it takes the next (of digits it takes many minutes)
  smaller <- if (case$grouped && case$data != "digits") c(1e-18, 1e-16)
  for (thresh in c(smaller, 1e-14, 1e-12, 1e-10)) {
    fit <- tryCatch(glmnet(
      x, as.factor(y),
      family = if (length(unique(y)) == 2) "binomial" else "multinomial",
      type.multinomial = if (case$grouped) "grouped" else "ungrouped",
      alpha = case$alpha, lambda = case$lambda * 10^seq(2, 0, length.out = 9),
      penalty.factor = get(paste0(case$name, "_factor")),
      lower.limits = case$lower, intercept = case$intercept,
      standardize = FALSE, thresh = thresh, maxit = 1e7
    ), error = function(e) NULL, warning = function(w) NULL)
    if (!is.null(fit)) break
  }
  found <- coef(fit, s = case$lambda)
  if (!is.list(found)) found <- list(found)
  put(sapply(found, as.numeric), paste0(case$name, "_coef"))
  thresholds[i] <- thresh
  cat(sprintf("%s: %d passes with thresh=%g\n", case$name, fit$npasses, thresh))
}
put(thresholds, "thresh")
writeLines(
  c(R.version.string, paste("glmnet", packageVersion("glmnet"))), file.path(folder, "versions.txt")
)
