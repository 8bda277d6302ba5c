"""Reports: one self-contained HTML file that shows a dataset, an operator, a solution, a training, a restored photo."""
